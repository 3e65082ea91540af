"""What photographs are called: ImageNet's thousand names, and everyday words above them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from palm_demo.world.atlas import Atlas
from palm_demo.world.captions import by_first_letter, with_article

NAMES_FILE = Path(__file__).with_name("photo_nouns.txt")

EVERYDAY = ("animal", "food", "plant", "vehicle", "tool", "clothing")
"""Categories of the drawn world that are themselves everyday words."""

SOUND_LIKE_CONSONANTS, SOUND_LIKE_VOWELS = ("uni", "eu", "uk"), ("hourglass", "mp3")
"""Beginnings of words whose article their first letter does not tell: "a unicycle", "an hourglass"."""

WITHOUT_ARTICLE = frozenset(
    {"armor", "bread", "cattle", "cloth", "clothing", "coffee", "equipment", "food", "furniture", "glasses"}
    | {"jewelry", "makeup", "seafood", "trousers", "underwear", "wine"}
)


@dataclass(frozen=True)
class PhotoNoun:
    """A name of photographs, such as "tabby cat".

    Attributes:
        article: "a", "an", or "" for "hay".
        above: the everyday words above it, such as "cat", "pet", "animal".
    """

    name: str
    article: str
    above: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.article} {self.name}".strip()


@dataclass(frozen=True)
class Photograph:
    """A photograph of one thing, as questions and captions see it."""

    name: str

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)


@cache
def photo_classes() -> tuple[PhotoNoun, ...]:
    """ImageNet's classes in their order. Two classes may have the same name."""
    lines = NAMES_FILE.read_text(encoding="utf-8").splitlines()
    return tuple(_parse(line) for line in lines if line and not line.startswith("#"))


def photo_nouns() -> list[str]:
    """The names of photographs, each once."""
    return list(dict.fromkeys(noun.name for noun in photo_classes()))


@cache
def everyday_words() -> tuple[str, ...]:
    """Words above the names of photographs and above the drawn things: "cat", "pet", "vehicle"."""
    above = (word for noun in photo_classes() for word in noun.above)
    return tuple(sorted({*above, *EVERYDAY}))


def photo_caption(name: str) -> str:
    """The caption of a photograph: "a photo of a tabby cat". Raises ValueError for a name that none has."""
    return f"a photo of {_noun(name)}"


def above(name: str) -> tuple[str, ...]:
    """Everyday words above a name of photographs or a drawn thing."""
    if name in _by_name():
        return _by_name()[name].above
    category = Atlas.load().concept(name).category
    return (category,) if category in EVERYDAY and category != name else ()


@cache
def usual_name(name: str) -> str:
    """What most people would call a photographed thing: "cat" where its name is "tabby cat".

    Of the words above the name it is the narrowest that the drawn world has too. A name that the drawn world
    has, or that has no such word above it, stays.
    """
    concepts = Atlas.load().trained
    words = [word for word in _noun(name).above if word in concepts]
    if name in concepts or not words:
        return name
    return min(words, key=lambda word: sum(word in noun.above for noun in photo_classes()))


def named(word: str) -> str:
    """A word with its article where it takes one: a photograph's name, a drawn thing or an everyday word."""
    if word in _by_name():
        return str(_by_name()[word])
    if word in everyday_words():
        return indefinite(word)
    return with_article(word)


def sample_photograph(rng: Random) -> Photograph:
    """A photograph of a random class."""
    return Photograph(rng.choice(photo_classes()).name)


def _noun(name: str) -> PhotoNoun:
    try:
        return _by_name()[name]
    except KeyError:
        raise ValueError(f"no photograph is called {name!r}; choose one of photo_nouns()") from None


@cache
def _by_name() -> dict[str, PhotoNoun]:
    return {noun.name: noun for noun in reversed(photo_classes())}


def _parse(line: str) -> PhotoNoun:
    written, _, words = line.partition(":")
    name = written.removeprefix("~").strip()
    above = tuple(word.strip() for word in words.split(",") if word.strip())
    article = "" if written.startswith("~") else indefinite(name).split(" ")[0]
    return PhotoNoun(name, article, above)


@cache
def indefinite(word: str) -> str:
    """Any noun with the article that it sounds like: "an hourglass", "a unicorn", "bread"."""
    if word.split()[-1] in WITHOUT_ARTICLE:
        return word
    if word.startswith(SOUND_LIKE_CONSONANTS):
        return f"a {word}"
    return f"an {word}" if word.startswith(SOUND_LIKE_VOWELS) else by_first_letter(word)
