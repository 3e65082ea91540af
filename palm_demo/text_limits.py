"""How much text a verb takes: the limits of all verbs, checked before anything else is done with a text.

The page has lower ones for visitors, in the Spacefile, and checks them with the same functions.
"""

from collections.abc import Sequence

from palm_demo.errors import PalmDemoError, PromptError

TEXT_BYTES = 200_000
"""The most bytes of a prompt, an answer, or a text whose author or tokens are asked for.

The largest context of a released model holds a fifth of it, and an author is told by a page.
"""
LONG_TEXT_BYTES = 5_000_000
"""The most bytes of a text that is scored or learned from. The longest novels have three million."""
WORDS_BYTES = 4_000
"""The most bytes of words that are searched for: as many as the longest caption of a gallery."""
PATH_BYTES = 4_000
"""The most bytes of a path. Linux opens none that is longer than 4,095."""
NAME_BYTES = 100
"""The most bytes of the name of a thing, a place, a colour or a style that is drawn."""
MOST_TEXTS = 100_000
"""The most texts of a list. Each has TEXT_BYTES at most, and all together LONG_TEXT_BYTES."""
MOST_STOPS, STOP_CHARACTERS = 64, 200
"""The most stop strings, and the most characters of one. Each is searched for after each token."""
MOST_CHOICES, CHOICE_CHARACTERS = 64, 200
"""The most texts that an answer can be chosen among, and the most characters of one."""


def size_bytes(text: str) -> int:
    """The number of UTF-8 bytes of a text. A half of a surrogate pair is one."""
    return len(text.encode("utf-8", "replace"))


def check_size(
    name: str,
    text: str,
    most_bytes: int,
    remedy: str = "shorten it",
    error: type[PalmDemoError] = PromptError,
) -> None:
    """Raises `error`, which names the size, the limit and the remedy, for a text of too many bytes."""
    if (size := size_bytes(text)) > most_bytes:
        raise error(f"{name} has {size:,} bytes and at most {most_bytes:,} fit; {remedy}")


def check_sizes(name: str, texts: Sequence[str], most_bytes: int) -> None:
    """Raises PromptError for too many texts, one of too many bytes, or all together too long."""
    if len(texts) > MOST_TEXTS:
        raise PromptError(f"{name} has more than {MOST_TEXTS:,} texts; give them in parts")
    for text in texts:
        check_size(f"a text of {name}", text, most_bytes)
    if (together := sum(map(size_bytes, texts))) > LONG_TEXT_BYTES:
        raise PromptError(
            f"{name} has {together:,} bytes and at most {LONG_TEXT_BYTES:,} fit at once; give it in parts"
        )
