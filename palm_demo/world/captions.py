"""Captions of scenes: the sentences that are right for each."""

from __future__ import annotations

from palm_demo.world.atlas import Atlas
from palm_demo.world.scenes import Scene

NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}
RELATIONS = {
    "left": "to the left of",
    "right": "to the right of",
    "above": "above",
    "below": "below",
}
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}


def with_article(name: str, atlas: Atlas | None = None) -> str:
    """A thing's name with its article: "a cat". Raises ValueError for a name that is not in the world."""
    return str((atlas or Atlas.load()).concept(name))


def by_first_letter(word: str) -> str:
    """A word with the article that its first letter suggests: "a cat", "an orange"."""
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def backdrop(color: str) -> str:
    """The words for a background: "a blue background", "an orange background"."""
    return by_first_letter(f"{color} background")


def caption(scene: Scene, atlas: Atlas | None = None) -> str:
    """The caption of a scene. In pairs, the left or upper thing comes first."""
    return _describe(scene, scene.relation, scene.names, atlas)


def converse(scene: Scene, atlas: Atlas | None = None) -> str:
    """The caption of a pair with the right or lower thing first. Other scenes get their usual caption."""
    return _describe(scene, OPPOSITE.get(scene.relation), scene.names[::-1], atlas)


def captions(scene: Scene, atlas: Atlas | None = None) -> list[str]:
    """All right captions of a scene, the canonical one first."""
    return list(dict.fromkeys((caption(scene, atlas), converse(scene, atlas))))


def is_exact(text: str, scene: Scene, atlas: Atlas | None = None) -> bool:
    """Whether `text` is a right caption of the scene, in either order. Spaces around it do not count."""
    return text.strip() in captions(scene, atlas)


def _describe(scene: Scene, relation: str | None, names: tuple[str, ...], atlas: Atlas | None) -> str:
    where = f"on {backdrop(scene.background.color)}"
    if relation is not None:
        first, second = (with_article(name, atlas) for name in names)
        return f"{first} {RELATIONS[relation]} {second} {where}"
    if scene.kind == "count":
        plural = (atlas or Atlas.load()).concept(names[0]).plural
        return f"{NUMBERS[len(names)]} {plural} {where}"
    return f"{with_article(names[0], atlas)} {where}"
