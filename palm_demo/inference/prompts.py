"""Prompts: from text and media to ids, and the forms in which a Flamingo is asked."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, repeat

from palm_demo.errors import MediaError, PromptError
from palm_demo.inference.questions import usual
from palm_demo.models.tokenizers import MEDIA, BundledTokenizer, OpenFlamingoTokenizer

Encode = Callable[[str, BundledTokenizer, Sequence[int]], list[int]]
"""(text with media marks, tokenizer, pictures at each mark (1 by default)) -> ids."""


def encode_interleaved(text: str, tokenizer: BundledTokenizer, pictures: Sequence[int] = ()) -> list[int]:
    """Ids of a text in which each `<media>` mark becomes the media token, once for each of its pictures."""
    ids: list[int] = []
    for index, (piece, count) in enumerate(_pieces(text, pictures)):
        ids += [tokenizer.media_id] * count if index else []
        ids += tokenizer.encode(piece)
    return ids


def encode_chunks(text: str, tokenizer: OpenFlamingoTokenizer, pictures: Sequence[int] = ()) -> list[int]:
    """Ids of a text in OpenFlamingo's form: without spaces around media tokens, and each example ended.

    What is said about one picture ends with `<|endofchunk|>` before the next picture. Several pictures
    at one mark are examples without text.
    """
    ids: list[int] = []
    for index, (piece, count) in enumerate(_pieces(text, pictures)):
        ends_example = index > 1 and ids[-1] != tokenizer.media_id
        ids += [tokenizer.eos_id] if ends_example else []
        marks = [tokenizer.media_id, tokenizer.eos_id] * count if index else []
        ids += marks[:-1]
        ids += tokenizer.encode(piece.strip())
    return ids


def _pieces(text: str, pictures: Sequence[int]) -> list[tuple[str, int]]:
    """The pieces of text between marks, each with the number of pictures at the mark before it."""
    return list(zip(text.split(MEDIA), chain([0], pictures, repeat(1)), strict=False))


Usual = Callable[[str], str | None]


def _as_it_is(question: str) -> str:
    return question


@dataclass(frozen=True)
class PromptForm:
    """The form of the texts that a Flamingo was trained on.

    Attributes:
        question, answer, caption: what stands before each, with the space after it if there is one.
        lower: whether questions are in lower case.
        encode: from text to ids.
        stops: strings before which an answer ends. Without them, a model that has finished would go on
            with an example of its own.
        usual: puts a question into the words of the training; None if that is the form of a caption.
    """

    question: str
    answer: str
    caption: str
    lower: bool
    encode: Encode
    stops: tuple[str, ...] = ()
    usual: Usual = _as_it_is

    def asked(self, question: str) -> str:
        """Puts a bare question into this form."""
        question = question.strip().lower() if self.lower else question.strip()
        return f"{self.question}{question} {self.answer}".rstrip()

    def completed(self, text: str, media: int) -> str:
        """The prompt for a text that somebody typed about `media` media.

        A bare question is put into this form, in the words that the model was trained on. A text
        without media tokens gets one per medium in front. A text that is in this form already stays as
        it is, apart from the wording of its questions.
        """
        text = text.strip()
        head, mark, last = text.rpartition(MEDIA)
        if self.has(text):
            answer = self.answer.rstrip()
            *asked, rest = text.split(answer)
            text = "".join([*(self._reworded(piece, answer) for piece in asked), rest])
        elif self.asks(last):
            text = f"{head}{mark} {self._asked_usually(last)}".strip()
        return with_media(text, media)

    def _reworded(self, piece: str, answer: str) -> str:
        """A piece of a prompt up to an answer's mark, and the mark, with the question between in usual
        words."""
        before, asks, question = piece.rpartition(self.question)
        question = question.strip()
        if not asks or not question or "\n" in question:
            return piece + answer
        return before + self._asked_usually(question)

    def _asked_usually(self, question: str) -> str:
        question = question.strip()
        usual = self.usual(question.lower() if self.lower else question)
        return self.caption.rstrip() if usual is None else self.asked(usual)

    def asks(self, text: str) -> bool:
        """Whether a text is a question, or a request of the training without a question mark, or has a part
        of this form."""
        text, read = text.strip(), text.strip().lower()
        return text.endswith("?") or self.has(text) or self.usual(read) not in (read, text)

    def worded(self, text: str) -> str:
        """Puts a text of the picture world, which is in the bundled weights' form, into this form."""
        words = {"question": self.question, "answer": self.answer, "caption": self.caption}
        return re.sub(r"\b(question|answer|caption): ?", lambda found: words[found[1]], text).rstrip()

    def has(self, text: str) -> bool:
        """Whether a text has a part of this form."""
        return any(word.strip() in text for word in (self.question, self.answer, self.caption))

    def spoken(self, text: str) -> str:
        """A piece of a prompt as a person would write it: a question without the form around it."""
        text = text.strip()
        head, asks, question = text.rpartition(self.question.strip())
        bare = question.strip().removesuffix(self.answer.strip()).strip()
        if not asks or head.strip() or bare == question.strip():
            return text
        return f"{bare[:1].upper()}{bare[1:]}"

    @property
    def gap(self) -> str:
        """What stands between the form and an answer: a space, or nothing."""
        return " " if self.answer.endswith(" ") else ""


OURS = PromptForm("question: ", "answer: ", "caption: ", lower=True, encode=encode_interleaved, usual=usual)
OPENFLAMINGO = PromptForm(
    "Question:",
    "Short answer:",
    "Output:",
    lower=False,
    encode=encode_chunks,
    stops=("Output:", "Question:", "Short answer:", "Answer:"),
)


def with_media(text: str, media: int) -> str:
    """A text with one media token per medium in front, if it has none."""
    return text if MEDIA in text else " ".join([*[MEDIA] * media, text])


def check_picture_there(prompt: str, media: int, form: PromptForm) -> None:
    """Raises MediaError for a question without any picture."""
    if not media and MEDIA not in prompt and form.question in prompt:
        raise MediaError("the question has no picture; add the picture or video that it is about")


def check_media_count(prompt: str, media: int) -> None:
    """Raises PromptError, with both counts and the remedy, unless each mark has its medium."""
    marks = prompt.count(MEDIA)
    if marks == media:
        return
    counts = f"the prompt has {_counted(marks, MEDIA + ' mark')} but {_counted(media, 'medium', 'media')}"
    if marks > media:
        raise PromptError(f"{counts} attached; attach {marks - media} more or remove marks")
    raise PromptError(f"{counts} attached; add {media - marks} more {MEDIA} or remove media")


def _counted(count: int, one: str, several: str | None = None) -> str:
    return f"{count} {one if count == 1 else several or one + 's'}"


def check_length(tokens: int, new_tokens: int, context: int) -> None:
    """Raises PromptError when prompt and answer together would outgrow the model's context."""
    if tokens + new_tokens > context:
        raise PromptError(
            f"the prompt has {tokens} tokens and {new_tokens} new ones are asked for, but the model "
            f"reads {context} in all; shorten the prompt by {tokens + new_tokens - context} tokens "
            "or ask for fewer"
        )
