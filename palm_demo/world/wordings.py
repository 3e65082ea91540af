"""Wordings of questions: plain ones beside the usual one, and made-up words for new things."""

from __future__ import annotations

from random import Random

from palm_demo.world.atlas import Atlas

DESCRIBE = (
    "what does the picture show?",
    "describe this picture.",
    "describe the picture.",
    "describe this image.",
    "what does this picture show?",
    "what does the image show?",
    "what can be seen in the picture?",
)
"""Plain wordings that ask for a caption."""

NAME = (
    "what is this?",
    "what is in the picture?",
    "what is in this picture?",
    "what do you see?",
    "what is that?",
    "what is shown here?",
)
"""Plain wordings that ask what is seen, not where."""

WHAT = ("what is", "what do you see", "what thing is", "which thing is")
"""Wordings of "what is" before a place: "above the cat"."""

BACKGROUND = (
    "what colour is the background?",
    "what is the color of the background?",
    "what is the colour of the background?",
    "which color is the background?",
    "which colour is the background?",
    "what color does the background have?",
    "what color is behind it?",
)
IS_THERE = (
    "do you see {}?",
    "can you see {}?",
    "is there {} in the picture?",
    "is there {} here?",
    "does the picture show {}?",
    "does this picture have {}?",
)
IS_THIS = ("is this {}?", "is that {}?", "is it {}?", "is this {}?")
HOW_MANY = (
    "how many {} do you see?",
    "how many {} are in the picture?",
    "how many {} can you see?",
    "how many {} does the picture show?",
    "what number of {} is there?",
)
WHICH = (
    "which picture shows {}?",
    "which one has {}?",
    "which one shows {}?",
    "in which picture is there {}?",
    "which image has {}?",
    "where do you see {}?",
)
WAY = ("which direction does the {} move?", "where does the {} go?", "which way does the {} go?")
GROWS = (
    "does the {} get bigger or smaller?",
    "does the {} shrink or grow?",
    "is the {} growing or shrinking?",
)


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
    """A pronounceable word of one or two syllables and at least three letters."""
    while True:
        word = rng.choice(_STARTS) + rng.choice(_VOWELS)
        if rng.random() < 0.5:
            word += rng.choice(_MIDDLES) + rng.choice(_VOWELS)
        word += rng.choice(_ENDS)
        if len(word) >= 3 and not word.startswith(_RUDE):
            return word


def made_up_words(rng: Random, count: int, atlas: Atlas | None = None) -> list[str]:
    """Different made-up words, none of which is part of a noun of the world."""
    taken = {part for concept in (atlas or Atlas.load()).concepts for part in concept.name.split()}
    words: list[str] = []
    while len(words) < count:
        word = made_up_word(rng)
        if word not in taken and word not in words:
            words.append(word)
    return words
