"""Plurals in any text: the irregular ones of the world's own nouns, the others by their endings."""

from __future__ import annotations

from functools import cache

from palm_demo.world.atlas import Atlas

SINGULAR = ("ss", "us", "is")
"""Endings of singular words that end in s."""


def is_plural(noun: str) -> bool:
    """Whether a noun looks like a plural: "white mice" and "gizmos" do, "mouse" and "bus" do not."""
    last = noun.split()[-1]
    return last in _irregular() or _ends_as_plural(last)


def stem(word: str) -> str:
    """What a noun and its plural share: "mous" of "mouse" and "mice", "citi" of "city" and "cities".

    It is for comparison alone, for it need not be a word.
    """
    return _regular_stem(_irregular().get(word, word))


def _ends_as_plural(word: str) -> bool:
    return len(word) > 3 and word.endswith("s") and not word.endswith(SINGULAR)


def _regular_stem(word: str) -> str:
    if _ends_as_plural(word):
        word = word[:-1]
    if len(word) > 3 and word.endswith("y"):
        return f"{word[:-1]}i"
    return word[:-1] if len(word) > 3 and word.endswith("e") else word


@cache
def _irregular() -> dict[str, str]:
    """Plurals that endings do not tell, with their singulars: "wolves" and "taxis"."""
    return {
        plural: singular
        for concept in Atlas.load().concepts
        for plural, singular in zip(concept.plural.split(), concept.name.split(), strict=True)
        if _regular_stem(plural) != _regular_stem(singular)
    }
