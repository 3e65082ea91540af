"""Full-text matches: words that captions have in common with a query, and how they raise a score."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from palm_demo.world.plurals import stem

STOP_WORDS = re.compile(
    r"(?:an?|the|this|that|these|those|some|and|or|of|on|in|at|by|with|to|from|is|are|its?|there|"
    r"photo|photograph|picture|image|drawing|show|find)s?"
)
"""They say nothing about what a picture shows."""


def content_words(text: str) -> frozenset[str]:
    """The words of a text in lower case, without stop words."""
    return frozenset(word for word in re.findall(r"\w+", text.lower()) if not STOP_WORDS.fullmatch(word))


def shares(wanted: frozenset[str], captions: Sequence[str]) -> np.ndarray:
    """The fraction of the words that each caption has, (captions,), 0 to 1. A noun and its plural are one
    word."""
    stems = _stems(wanted)
    return np.array([len(stems & _stems(content_words(text))) / max(1, len(stems)) for text in captions])


def lifted(scores: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Scores (n,) of at most 1, raised by the fraction of the words that each caption has.

    A caption with all of the words halves the distance to 1; one with some of them shortens it little.
    """
    return scores + shares**2 / 2 * (1 - scores)


def _stems(words: Iterable[str]) -> frozenset[str]:
    return frozenset(map(stem, words))
