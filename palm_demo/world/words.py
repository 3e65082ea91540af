"""Made-up words for naming things anew: "dax", "wug", "blicket"."""

from __future__ import annotations

from random import Random

from palm_demo.world.atlas import Atlas

# Every word starts with a consonant, so that "this is a" fits all of them.
_STARTS = tuple(
    [
        "b",
        "bl",
        "br",
        "d",
        "dr",
        "f",
        "fl",
        "g",
        "gl",
        "gr",
        "k",
        "kl",
        "l",
        "m",
        "n",
        "p",
        "pl",
        "r",
        "s",
        "sn",
        "t",
        "tr",
        "v",
        "w",
        "z",
    ]
)
_VOWELS = tuple("aeiou")
_MIDDLES = tuple(["b", "ck", "d", "f", "g", "l", "m", "n", "p", "r", "t", "v", "x", "zz"])
_ENDS = ("", *["b", "ck", "d", "g", "l", "m", "n", "p", "r", "s", "t", "x", "zz"])
_RUDE = ("bas", "dic", "dik", "fag", "fuc", "fuk", "kok", "nig", "pis", "rap", "sex", "tit", "wan")


def made_up_word(rng: Random) -> str:
    """A pronounceable word of one or two syllables, three letters at least."""
    while True:
        word = rng.choice(_STARTS) + rng.choice(_VOWELS)
        if rng.random() < 0.5:
            word += rng.choice(_MIDDLES) + rng.choice(_VOWELS)
        word += rng.choice(_ENDS)
        if len(word) >= 3 and not word.startswith(_RUDE):
            return word


def made_up_words(rng: Random, count: int, atlas: Atlas | None = None) -> list[str]:
    """`count` different made-up words, none of them a word of the world's nouns."""
    taken = {part for concept in (atlas or Atlas.load()).concepts for part in concept.name.split()}
    words: list[str] = []
    while len(words) < count:
        word = made_up_word(rng)
        if word not in taken and word not in words:
            words.append(word)
    return words
