"""The voices that come along: what the page calls them, and a beginning for each."""

from typing import NamedTuple

BASE = "base"
"""The choice of no scope: PaLM itself."""
PLAIN = "Plain PaLM"
"""What the page calls it."""


class Voice(NamedTuple):
    """A bundled scope on the page.

    Attributes:
        author: the name that the page shows.
        beginning: of a text in this voice.
    """

    author: str
    beginning: str


VOICES = {
    "austen": Voice("Jane Austen", "It is a truth that every young lady"),
    "baum": Voice("L. Frank Baum", "“Goodness me!” cried Dorothy, looking at the"),
    "carroll": Voice("Lewis Carroll", "“Curiouser and curiouser!” said the"),
    "doyle": Voice("Arthur Conan Doyle", "“My dear Watson,” said Sherlock Holmes,"),
    "poe": Voice("Edgar Allan Poe", "During the whole of that dull night I had been alone in"),
    "shakespeare": Voice("William Shakespeare", "Enter the King.\n\nKING.\n"),
    "verne": Voice("Jules Verne", "The captain looked at the compass, and the ship"),
    "wodehouse": Voice("P. G. Wodehouse", "“What ho, Jeeves!” I said. “This is a bit"),
}
"""Voices by the names of their scopes."""
MOST_DIFFERENT = ("shakespeare", "austen", "poe")
"""The scopes whose texts differ most at a glance."""


def shown_name(scope: str) -> str:
    """What the page calls a scope: its author's name, or its own name if it did not come along."""
    return VOICES[scope].author if scope in VOICES else scope
