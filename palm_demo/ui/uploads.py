"""Checks what visitors send before a model gets it: prompts, media, labels, counts and filters."""

from pathlib import Path

from palm_demo.errors import MediaError, PromptError, SamplingError
from palm_demo.gallery import Filters, read_since
from palm_demo.settings import Limits
from palm_demo.text_limits import check_size

NOTHING_ASKED = "there is no prompt yet; write a few words first"
NOTHING_SOUGHT = "there is nothing to search for yet; write a word, such as fox"


def check_prompt(text: str, limits: Limits, missing: str = NOTHING_ASKED) -> str:
    """Returns a prompt. Raises PromptError if it is empty or too long.

    missing: the message if it is empty.
    """
    if not isinstance(text, str) or not text.strip():
        raise PromptError(missing)
    check_size("the prompt", text, limits.prompt_bytes)
    return text


def check_media(files: list, limits: Limits) -> list:
    """Returns the files as a list, also if one comes without a list. Raises MediaError for too many."""
    files = [files] if isinstance(files, dict) else files
    if not isinstance(files, list):
        raise MediaError(f"media is a {type(files).__name__}; give a list of files")
    if len(files) > limits.media:
        raise MediaError(
            f"{len(files)} files came at once and at most {limits.media} fit in one question; "
            f"remove {len(files) - limits.media}"
        )
    return list(files)


def check_picture(file: dict | None) -> Path:
    """The path of the file in an image component. Raises MediaError if there is none."""
    if not file or not file.get("path"):
        raise MediaError("there is no picture yet; upload one or click one of the gallery")
    return Path(file["path"])


def check_labels(labels: list[str], limits: Limits) -> list[str]:
    """The labels that are not blank. Raises PromptError for none and for too many."""
    return _not_blank(labels, "labels", "write a few words with commas between them", limits)


def check_new_tokens(count: int, limits: Limits) -> int:
    """Returns a number of new tokens. Raises SamplingError for too many."""
    if not isinstance(count, int) or count > limits.new_tokens:
        raise SamplingError(
            f"max_new_tokens is {count!r:.40} and at most {limits.new_tokens} are allowed here; ask for fewer"
        )
    return count


def check_hits(count: int, limits: Limits) -> int:
    """Returns a number of pictures to find. Raises PromptError for too many."""
    if not isinstance(count, int) or count > limits.hits:
        raise PromptError(f"k is {count!r:.40} and at most {limits.hits} pictures come back; ask for fewer")
    return count


def check_words(words: str, limits: Limits) -> str:
    """Returns optional words, "" if there are none. Raises PromptError for too many."""
    if not isinstance(words, str):
        raise PromptError(f"words is a {type(words).__name__}; give a text")
    return check_prompt(words, limits) if words.strip() else ""


def check_filters(contains: str, since: str, limits: Limits) -> Filters:
    """The filters of a search. Raises GalleryError for an invalid date."""
    return Filters(check_words(contains or "", limits), read_since(check_words(since or "", limits)))


def check_texts(texts: list[str], limits: Limits) -> list[str]:
    """The texts that are not blank, for `similarity`. Raises PromptError for none and for too many."""
    return _not_blank(texts, "texts", "write one in each line", limits)


def _not_blank(texts: list[str], what: str, remedy: str, limits: Limits) -> list[str]:
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise PromptError(f"{what} is not a list of texts; give one such as ['a cat', 'a dog']")
    kept = [text.strip() for text in texts if text.strip()]
    if not kept:
        raise PromptError(f"there are no {what} yet; {remedy}")
    if len(kept) > limits.labels:
        raise PromptError(f"{len(kept)} {what} were given and at most {limits.labels} fit; leave some out")
    check_prompt("\n".join(kept), limits)
    return kept
