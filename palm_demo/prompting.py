"""From text and media to ids: where the marks stand, and that their number is right."""

from palm_demo.errors import PromptError
from palm_demo.tokenizer import MEDIA, Tokenizer


def encode_interleaved(text: str, tokenizer: Tokenizer) -> list[int]:
    """Ids of a text in which each `<media>` mark becomes the media token."""
    ids: list[int] = []
    for index, piece in enumerate(text.split(MEDIA)):
        ids += [tokenizer.media_id] if index else []
        ids += tokenizer.encode(piece)
    return ids


def check_media_count(prompt: str, media: int) -> None:
    """Raises PromptError, with both counts and the remedy, unless each mark has its medium."""
    marks = prompt.count(MEDIA)
    if marks == media:
        return
    counts = f"the prompt has {_many(marks, MEDIA + ' mark')} but {_many(media, 'medium', 'media')}"
    if marks > media:
        raise PromptError(f"{counts} attached; attach {marks - media} more or remove marks")
    raise PromptError(f"{counts} attached; add {media - marks} more {MEDIA} or remove media")


def _many(count: int, one: str, several: str | None = None) -> str:
    return f"{count} {one if count == 1 else several or one + 's'}"


def check_length(tokens: int, new_tokens: int, context: int) -> None:
    """Raises PromptError when prompt and answer together would outgrow the model's context."""
    if tokens + new_tokens > context:
        raise PromptError(
            f"the prompt has {tokens} tokens and {new_tokens} new ones are asked for, but the model "
            f"reads {context} in all; shorten the prompt by {tokens + new_tokens - context} tokens "
            "or ask for fewer"
        )
