"""Which texts are captions: of some drawn scene, or of a photograph."""

from __future__ import annotations

from functools import cache

from palm_demo.world.atlas import Atlas
from palm_demo.world.backgrounds import COLORS
from palm_demo.world.captions import NUMBERS, RELATIONS, backdrop
from palm_demo.world.photographs import photo_caption, photo_nouns


def is_caption(text: str) -> bool:
    """Whether a text is the caption of some scene or photograph: of known names, each with its own article
    and said once.

    A text that a model made up ("a banjo above a banjo on a red background", "a photo of a sl slug") is
    none.
    """
    scene = next((text.removesuffix(end) for end in _backdrops() if text.endswith(end)), None)
    if scene is None:
        return text in _of_photographs()
    singular, plural = _drawn()
    for relation in RELATIONS.values():
        first, found, second = scene.partition(f" {relation} ")
        if found:
            return first != second and {first, second} <= singular
    number, _, things = scene.partition(" ")
    return scene in singular or (number in _several() and things in plural)


def _several() -> set[str]:
    return {word for number, word in NUMBERS.items() if number > 1}


@cache
def _backdrops() -> tuple[str, ...]:
    return tuple(f" on {backdrop(color)}" for color in COLORS)


@cache
def _of_photographs() -> frozenset[str]:
    return frozenset(map(photo_caption, photo_nouns()))


@cache
def _drawn() -> tuple[frozenset[str], frozenset[str]]:
    """The drawn things with their articles, and their plurals."""
    concepts = Atlas.load().concepts
    return frozenset(map(str, concepts)), frozenset(concept.plural for concept in concepts)
