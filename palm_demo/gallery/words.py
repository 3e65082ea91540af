"""Full-text matches: words that captions have in common with a query, and how they raise a score."""

from __future__ import annotations

import re

import numpy as np

SMALL = re.compile(
    r"(?:an?|the|this|that|these|those|some|and|or|of|on|in|at|by|with|to|from|is|are|its?|there|"
    r"photo|photograph|picture|image|drawing|show|find)s?"
)
"""Stop words: words that say nothing about what a picture shows."""


def content_words(text: str) -> frozenset[str]:
    """The words of a text without stop words, each in the singular."""
    return frozenset(
        _singular(word) for word in re.findall(r"\w+", text.lower()) if not SMALL.fullmatch(word)
    )


def share(wanted: frozenset[str], caption: str) -> float:
    """The fraction of the words that a caption has, 0 to 1."""
    return len(wanted & content_words(caption)) / len(wanted) if wanted else 0.0


def lifted(scores: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Scores (n,) of at most 1, raised by the fraction of the words that each caption has.

    A caption with all of the words halves the distance to 1; one with some of them shortens it little.
    """
    return scores + shares**2 / 2 * (1 - scores)


def _singular(word: str) -> str:
    """A stem that a noun and its plural share: bus and buses, city and cities, glass and glasses."""
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    if len(word) > 3 and word.endswith("y"):
        return f"{word[:-1]}i"
    return word[:-1] if len(word) > 3 and word.endswith("e") else word
