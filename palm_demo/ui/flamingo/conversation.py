"""A visitor's conversation with Flamingo: its prompts with media, shown in a chat and kept on the server."""

import html
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import gradio as gr

from palm_demo.inference.prompts import OURS, PromptForm, check_media_count, with_media
from palm_demo.internals.gradio_files import ComponentMessage
from palm_demo.media import is_video
from palm_demo.models.tokenizers import MEDIA
from palm_demo.session import Session
from palm_demo.settings import Limits
from palm_demo.ui.components import no_warning, warning_about, warning_shown
from palm_demo.ui.flamingo.asked_media import AskedMedia
from palm_demo.ui.flamingo.second_opinion import remark
from palm_demo.ui.streaming import Stops, Stream, in_line, line_shown
from palm_demo.ui.uploads import check_media, check_prompt


def names(media: Sequence[str | Path]) -> list[str]:
    """Names of media on the page: picture 1, video 2 …"""
    return [f"{'video' if is_video(path) else 'picture'} {place}" for place, path in enumerate(media, 1)]


def labelled(prompt: str, media: Sequence[str | Path]) -> list[tuple[str, str | None]]:
    """Pieces of a prompt as (text, label), in which each media token has the name of its medium."""
    pieces: list[tuple[str, str | None]] = []
    labels = iter(names(media))
    for place, text in enumerate(prompt.split(MEDIA)):
        if place:
            pieces.append((MEDIA, next(labels, "missing")))
        if text:
            pieces.append((text, None))
    return pieces


def as_message(prompt: str, shown: Sequence[ComponentMessage], form: PromptForm = OURS) -> dict:
    """The Chatbot message for a prompt, with each medium in the place of its media token.

    Args:
        prompt: a text with media tokens.
        shown: the media, from `AskedMedium.shown`.
        form: of the prompt; its questions are shown as people ask them.
    """
    content: list[str | ComponentMessage] = []
    media = iter(shown)
    for place, text in enumerate(prompt.split(MEDIA)):
        if place:
            content.append(next(media))
        if text.strip():
            content.append(literal(form.spoken(text)))
    return {"role": "user", "content": content}


def literal(text: str) -> str:
    """Escapes a text for the Chatbot, which shows texts as HTML even with `render_markdown=False`."""
    return html.escape(text, quote=False)


TAB = "flamingo"
KEPT_TURNS = 20
KEPT_SECONDS = 3600
NO_WORDS = "(No words came. The examples above show what Flamingo can be asked.)"


class Exchange(NamedTuple):
    """A question and its answer.

    Attributes:
        prompt: that Flamingo read, with media tokens.
        media: files, in the order of their tokens.
        answer: what Flamingo said.
        shown: the media as components in messages.
        words: the prompt as a visitor typed it, which is shown; "" for the prompt itself.
    """

    prompt: str
    media: list[str]
    answer: str
    shown: Sequence[ComponentMessage] = ()
    words: str = ""

    @property
    def typed(self) -> str:
        """The words, with media tokens before them if they have none; or the prompt."""
        return with_media(self.words, len(self.media)) if self.words else self.prompt


class Conversation:
    """The chat, built inside the current column.

    Attributes:
        turns: the state with all exchanges.
        media: the media that visitors ask about.
        truth: a line beneath the answer: whether it is right, or what MaMMUT says.
        last: the state with the exchange whose prompt is all that Flamingo read for the last answer; None
            while there is none.

    Args:
        session: answers.
        limits: on prompts and media.
        stops: of the page's streams.
        first: an exchange that is shown at first.
        first_verdict: on its answer.
    """

    def __init__(
        self,
        session: Session,
        limits: Limits,
        stops: Stops,
        first: Exchange | None = None,
        first_verdict: str = "",
    ):
        self.session, self.limits, self.stops = session, limits, stops
        self.media = AskedMedia(session)
        self.turns = gr.State([], time_to_live=KEPT_SECONDS)
        self.last = gr.State(first, time_to_live=KEPT_SECONDS)
        self.line = line_shown(TAB)
        self.chat = gr.Chatbot(
            [] if first is None else self._messages_of_turn(first),
            label="Conversation",
            show_label=False,
            height=300,
            render_markdown=False,
            feedback_options=None,
            buttons=[],
            placeholder="Ask something, or press an example above.",
            elem_id="flamingo-chat",
        )
        self.truth = gr.HTML(html.escape(first_verdict), elem_id="flamingo-truth", elem_classes="truth")
        self.warning = warning_shown(TAB)

    def details(self) -> None:
        """Builds an accordion with the exact prompt of the last answer inside the current column."""
        with gr.Accordion("What exactly Flamingo reads", open=False, elem_id="flamingo-details"):
            self.reads = gr.HighlightedText(
                label="Each mark stands for a picture or video",
                elem_id="flamingo-reads",
                elem_classes="marked",
            )
            self.length = gr.HTML(elem_id="flamingo-length", elem_classes="hint")

    @property
    def outputs(self) -> list:
        """The components and states that `reply` updates."""
        return [
            self.chat,
            self.turns,
            self.last,
            self.reads,
            self.length,
            self.line,
            self.warning,
            self.truth,
        ]

    def whole_prompt(
        self, turns: list[Exchange], earlier: bool, question: tuple[str, list[str]]
    ) -> tuple[str, list[str]]:
        """All that Flamingo reads for a question: the prompt with media tokens, and the media.

        Args:
            turns: the exchanges so far.
            earlier: whether Flamingo also reads these, as few-shot examples.
            question: the prompt, with media tokens, and its media.

        Raises PromptError or MediaError for too much of it, and where tokens and media do not match.
        """
        gap = self.session.flamingo.form.gap
        prompt, media = joined([*turns, Exchange(*question, "")], gap) if earlier else question
        check_prompt(prompt, self.limits)
        check_media(media, self.limits)
        check_media_count(prompt, len(media))
        return prompt, media

    def reply(
        self,
        visitor: str,
        cancelled: Stream,
        turns: list[Exchange],
        earlier: bool,
        question: tuple[str, list[str]],
        settings: dict,
        answers: tuple[str, ...] = (),
        words: str = "",
    ) -> Iterator[tuple]:
        """Updates of `outputs` while Flamingo answers.

        Args:
            visitor: the session hash.
            cancelled: the event that stops the answer.
            turns, earlier, question: as for `whole_prompt`.
            settings: of the sampling.
            answers: all correct answers, if the page knows them.
            words: of the question, as they were typed.
        """
        prompt, media = self.whole_prompt(turns, earlier, question)
        read = [labelled(prompt, media), length_in_tokens(self.session, prompt)]
        asked = self.media.of(visitor, media)
        opened = [medium.decoded for medium in asked]
        new_media = asked[len(asked) - len(question[1]) :]
        shown = [medium.shown(name) for medium, name in zip(new_media, names(question[1]), strict=True)]
        new = Exchange(*question, "", shown, words.strip())
        earlier_messages = self._messages(turns)
        for delta in self.session.stream_answer(prompt, opened, **settings, cancelled=cancelled):
            if not self.stops.wanted(visitor, TAB, cancelled):
                return
            new = new._replace(answer=new.answer + delta)
            messages = [*earlier_messages, *self._messages_of_turn(new)]
            yield messages, turns, None, *read, in_line(delta), no_warning(), ""
        if not self.stops.wanted(visitor, TAB, cancelled):
            return
        turns = [*turns, new][-KEPT_TURNS:]
        last = Exchange(prompt, media, new.answer)
        if answers:  # the page's own drawings are never out of distribution
            warning, truth = no_warning(), html.escape(verdict(answers, new.answer))
        else:
            decoded = [medium.decoded for medium in new_media]
            warning = warning_about(self.session, decoded)
            truth = remark(self.session, new.prompt, decoded, new.answer)
        yield self._messages(turns), turns, last, *read, in_line(""), warning, truth

    def _messages(self, turns: list[Exchange]) -> list[dict]:
        return [
            message
            for turn in turns
            for message in self._messages_of_turn(
                turn if turn.answer.strip() else turn._replace(answer=NO_WORDS)
            )
        ]

    def _messages_of_turn(self, turn: Exchange) -> list[dict]:
        question = as_message(turn.typed, turn.shown, self.session.flamingo.form)
        return [question, {"role": "assistant", "content": literal(turn.answer)}]

    def emptied(self) -> tuple:
        """The updates of `outputs` that remove everything."""
        return [], [], None, None, "", in_line(""), no_warning(), ""


def verdict(answers: tuple[str, ...], answer: str) -> str:
    """The page's verdict on an answer to a question about its own example. answers: all correct answers."""
    if answer.strip().lower().rstrip(".") in answers:
        return "✓ Right: the page knows the answers to its own examples."
    return f"✗ Not this time: of the page's own example the answer is “{answers[0]}”."


def length_in_tokens(session: Session, prompt: str) -> str:
    """The length of a prompt and of the context in tokens, as a phrase."""
    return f"{session.prompt_length(prompt)} of {session.flamingo.context} tokens, the answer not counted"


def joined(turns: list[Exchange], gap: str = " ") -> tuple[str, list[str]]:
    """Questions with their answers as one few-shot prompt, and all their media.

    gap: the text between a question and its answer.
    """
    texts = [f"{turn.prompt}{gap}{turn.answer}".rstrip() for turn in turns]
    return " ".join(texts), [path for turn in turns for path in turn.media]
