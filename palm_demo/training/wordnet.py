"""Words of WordNet beside the names that pictures have: "yacht" stands for the nearest of these names.

A word that is no name of the training's pictures stands for all names below the lowest meaning at or above
it that has any (Fellbaum 1998, WordNet 3.0, as in Debian's package `wordnet-base`; `tools/wordnet.py` gets
it).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from timm.data import ImageNetInfo

from palm_demo import world
from palm_demo.world.atlas import Atlas

STEPS_UP = 2
"""The most steps from a word's meaning up to one that has known names below it."""

MOST_ABOVE, MOST_BESIDE = 60, 30
"""The most names that a word may be true of, and the most that it may be nearest to. A word for more of them
says too little."""

PHYSICAL, ARTIFACT = "00001930", "00021939"
"""Physical entities and artifacts."""

LEFT_OUT = ("00007846", "14622893")
"""Persons and chemical elements."""

ROOTS = {
    "animal": ("00015388",),
    "food": ("00021265", "07555863", "13134947"),
    "plant": ("00017222", "13134947", "11669921"),
    "drink and tableware": (ARTIFACT, "07881800", "00021265"),
    "place": (ARTIFACT, "00002684"),
    "sky and weather": ("11425580", "09239740", "11408559", "00019128", "00002684"),
    "body and fantasy": ("05220461",),
}
"""The meanings below which WordNet has the drawn things of a category. In other categories these are
artifacts."""

UP, DEFINITION = ("@", "@i"), "|"
"""How WordNet's files mark a meaning above, and the definition."""


@dataclass(frozen=True)
class Synset:
    """One meaning: its words, the meanings above it, and its definition."""

    words: tuple[str, ...]
    above: tuple[str, ...]
    definition: str


@dataclass(frozen=True)
class WordNet:
    """The nouns.

    Attributes:
        synsets: meanings by their offset, eight digits.
        senses: offsets of a word's meanings, the most frequent first.
        common: words that occur in the texts in which WordNet's authors counted meanings.
    """

    synsets: Mapping[str, Synset]
    senses: Mapping[str, Sequence[str]]
    common: frozenset[str]

    @classmethod
    def read(cls, folder: Path) -> WordNet:
        """Reads `data.noun` and `index.noun`."""
        synsets = dict(map(_synset, _lines(folder / "data.noun")))
        indexed = [_indexed(line) for line in _lines(folder / "index.noun")]
        senses = {word: offsets for word, offsets, _ in indexed}
        return cls(synsets, senses, frozenset(word for word, _, counted in indexed if counted))

    def names_below(self, of_synset: Mapping[str, set[str]]) -> dict[str, set[str]]:
        """The names at or below each meaning that has any. of_synset: names by their meaning."""
        found: dict[str, set[str]] = defaultdict(set)
        for offset, names in of_synset.items():
            for above in self.lineage(offset):
                found[above] |= names
        return dict(found)

    def lineage(self, offset: str) -> Iterable[str]:
        """A meaning and all above it."""
        seen, waiting = {offset}, [offset]
        while waiting:
            here = waiting.pop()
            yield here
            fresh = [above for above in self.synsets[here].above if above not in seen]
            seen.update(fresh)
            waiting += fresh


def known_meanings(wordnet: WordNet) -> dict[str, set[str]]:
    """The names of photographs and drawn things by their meaning."""
    found: dict[str, set[str]] = defaultdict(set)
    for label, noun in zip(ImageNetInfo().label_names(), world.photo_classes(), strict=True):
        if label[1:] in wordnet.synsets:
            found[label[1:]].add(noun.name)
    for concept in Atlas.load().concepts:
        roots = ROOTS.get(concept.category, (ARTIFACT,))
        senses = wordnet.senses.get(concept.name) or wordnet.senses.get(concept.name.split()[-1], ())
        fitting = [sense for sense in senses if not set(roots).isdisjoint(wordnet.lineage(sense))]
        if concept.name in world.concepts() and fitting:
            found[fitting[0]].add(concept.name)
    return found


@dataclass(frozen=True)
class RelatedWords:
    """Words that are true of the names of pictures, or nearest to them.

    Attributes:
        of_name: words by name.
        definitions: by word.
    """

    of_name: Mapping[str, Sequence[str]]
    definitions: Mapping[str, str]

    @classmethod
    def read(cls, folder: Path) -> RelatedWords:
        """Reads them from WordNet's files."""
        wordnet = WordNet.read(folder)
        of_name: dict[str, list[str]] = defaultdict(list)
        definitions = {}
        for word, names in related_words(wordnet).items():
            definitions[word] = wordnet.synsets[wordnet.senses[word][0]].definition
            for name in names:
                of_name[name].append(word)
        return cls(of_name, definitions)


def related_words(wordnet: WordNet) -> dict[str, frozenset[str]]:
    """Words for physical things, persons apart, -> the names that each is true of, or nearest to.

    Of the second kind only artifacts, and words that WordNet's texts have.
    """
    names_below = wordnet.names_below(known_meanings(wordnet))
    known = {*world.concepts(), *world.photo_nouns(), *world.everyday_words()}
    found: dict[str, frozenset[str]] = {}
    for word in sorted(filter(_is_plain, wordnet.senses.keys() - known)):
        sense = wordnet.senses[word][0]
        lineage = set(wordnet.lineage(sense))
        is_usual = sense in names_below or word in wordnet.common or (ARTIFACT in lineage and " " not in word)
        fits = is_usual and PHYSICAL in lineage and lineage.isdisjoint(LEFT_OUT)
        if fits and (names := _nearest(wordnet, sense, names_below)):
            found[word] = frozenset(names)
    return found


def _nearest(wordnet: WordNet, offset: str, names_below: Mapping[str, set[str]]) -> set[str]:
    """The names below the lowest meaning at or above `offset` that has some; none if that is far above, or
    if they are many."""
    if offset in names_below:
        return names_below[offset] if len(names_below[offset]) <= MOST_ABOVE else set()
    here = {offset}
    for _ in range(STEPS_UP):
        here = {above for one in here for above in wordnet.synsets[one].above}
        if names := set().union(*(names_below.get(one, ()) for one in here)):
            return names if len(names) <= MOST_BESIDE else set()
    return set()


def _is_plain(word: str) -> bool:
    return word.replace(" ", "").isalpha() and len(word.split()) <= 2 and len(word) > 2


def _lines(path: Path) -> Iterable[str]:
    """The lines of one of WordNet's files after its licence, which is indented."""
    with path.open(encoding="ascii") as file:
        yield from (line for line in file if not line.startswith("  "))


def _synset(line: str) -> tuple[str, Synset]:
    data, _, definition = line.partition(f" {DEFINITION} ")
    offset, _, _, count, *rest = data.split()
    words = int(count, 16)
    spelled = tuple(word.replace("_", " ") for word in rest[: 2 * words : 2])
    pointers = rest[2 * words + 1 :]
    above = tuple(pointers[at + 1] for at in range(0, len(pointers) - 1, 4) if pointers[at] in UP)
    return offset, Synset(spelled, above, definition.split(";")[0].strip())


def _indexed(line: str) -> tuple[str, list[str], bool]:
    """A word, the offsets of its meanings, and whether any of them was counted in texts."""
    word, _, count, *rest = line.split()
    return word.replace("_", " "), rest[-int(count) :], rest[-int(count) - 1] != "0"
