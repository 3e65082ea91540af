"""What visitors send, checked before a model sees it: prompts, counts of media, pictures."""

from collections.abc import Sequence

import gradio as gr

from palm_demo.errors import MediaError, PromptError, SamplingError
from palm_demo.settings import Limits


class Picture(gr.Image):
    """An image input that hands on the file as it came.

    gr.Image decodes and re-encodes before any check of ours could refuse a bomb or a damaged file.
    """

    is_template = True  # has gr.Image's front end

    def preprocess(self, payload) -> str | None:
        return None if payload is None else payload.path


def check_prompt(text: str, limits: Limits) -> str:
    """The prompt, if there is one and it is not too long; PromptError otherwise."""
    if not text or not text.strip():
        raise PromptError("there is no prompt yet; write a few words first")
    size_bytes = len(text.encode("utf-8", "replace"))
    if size_bytes > limits.prompt_bytes:
        raise PromptError(
            f"the prompt has {size_bytes:,} bytes and at most {limits.prompt_bytes:,} fit; shorten it"
        )
    return text


def check_media(files: Sequence, limits: Limits) -> list:
    """The media, if there are not too many; MediaError otherwise."""
    if len(files) > limits.media:
        raise MediaError(
            f"{len(files)} files came at once and at most {limits.media} fit in one question; "
            f"remove {len(files) - limits.media}"
        )
    return list(files)


def check_picture(path: str | None) -> str:
    if not path:
        raise MediaError("there is no picture yet; upload one or click one of the gallery")
    return path


def check_labels(labels: Sequence[str], limits: Limits) -> list[str]:
    """The labels that are not blank; PromptError when none is left or too many are."""
    kept = [label.strip() for label in labels if label.strip()]
    if not kept:
        raise PromptError("there are no labels yet; write a few words with commas between them")
    if len(kept) > limits.labels:
        raise PromptError(f"{len(kept)} labels were given and at most {limits.labels} fit; leave some out")
    check_prompt(", ".join(kept), limits)
    return kept


def check_new_tokens(count: int, limits: Limits) -> int:
    if count > limits.new_tokens:
        raise SamplingError(
            f"max_new_tokens is {count} and at most {limits.new_tokens} are allowed here; ask for fewer"
        )
    return count


def check_hits(count: int, limits: Limits) -> int:
    if count > limits.hits:
        raise PromptError(f"k is {count} and at most {limits.hits} pictures come back; ask for fewer")
    return count
