"""Scenes: which thing stands where, on what. All sampling takes a `random.Random` and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from palm_demo.world.atlas import Atlas
from palm_demo.world.backgrounds import Background, sample_background
from palm_demo.world.layout import place_alone, place_in_order, scatter
from palm_demo.world.things import Scene, Thing, held_out_pair
from palm_demo.world.visibility import is_visible

SILHOUETTES = "fluent-emoji-high-contrast"  # this style is drawn in black alone
LIGHT = (240, 240, 240)
COUNTS = (2, 3, 4, 5)
LARGEST = {2: 0.42, 3: 0.38, 4: 0.36, 5: 0.32}  # by how many there are; five of these still fit
TRIES = 1000  # to find a pair; one in ten is held out


def single_scene(
    rng: Random,
    *,
    styles: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    color: str | None = None,
    atlas: Atlas | None = None,
) -> Scene:
    """One large thing. `names` defaults to the trained concepts, `styles` to all, `color` to any."""
    atlas = atlas or Atlas.load()
    names = atlas.drawable(names, styles)
    name = rng.choice(names)
    thing = _sample_thing(rng, name, rng.choice(atlas.styles_of(name, styles)), rng.uniform(0.45, 0.9))
    return _on_background(rng, (place_alone(rng, thing),), "single", None, color, atlas)


def pair_scene(
    rng: Random,
    *,
    held_out: bool = False,
    styles: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    color: str | None = None,
    relation: str | None = None,
    atlas: Atlas | None = None,
) -> Scene:
    """Two different things, one clearly to the left of or above the other.

    `held_out` says from which nine or one in ten pairs to draw; raises ValueError when `names`
    has no such pair.
    """
    atlas = atlas or Atlas.load()
    names = atlas.drawable(names, styles)
    first, second = _sample_pair(rng, names, held_out)
    relation = relation or rng.choice(("left", "above"))
    if relation not in ("left", "above"):
        raise ValueError(f"unknown relation {relation!r}; choose 'left' or 'above'")
    return arrange_pair(rng, first, second, relation, styles, color, atlas)


def arrange_pair(
    rng: Random,
    first: str,
    second: str,
    relation: str,
    styles: Sequence[str] | None,
    color: str | None,
    atlas: Atlas,
) -> Scene:
    """These two things, the first to the "left" of the second or "above" it."""
    style_of_first, style_of_second = _sample_styles(rng, first, second, styles, atlas)
    things = (
        _sample_thing(rng, first, style_of_first, rng.uniform(0.34, 0.47)),
        _sample_thing(rng, second, style_of_second, rng.uniform(0.34, 0.47)),
    )
    return _on_background(rng, place_in_order(rng, things, relation), "pair", relation, color, atlas)


def count_scene(
    rng: Random,
    *,
    styles: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    color: str | None = None,
    count: int | None = None,
    atlas: Atlas | None = None,
) -> Scene:
    """Two to five of the same thing in the same style, none touching another."""
    atlas = atlas or Atlas.load()
    names = atlas.drawable(names, styles)
    count = rng.choice(COUNTS) if count is None else count
    if count not in COUNTS:
        raise ValueError(f"a count scene holds {COUNTS[0]} to {COUNTS[-1]} things, not {count}")
    name = rng.choice(names)
    style = rng.choice(atlas.styles_of(name, styles))
    hue, gain = _sample_shift(rng)  # shared: they are several of one thing
    things = tuple(
        replace(
            _sample_thing(rng, name, style, LARGEST[count] * rng.uniform(0.75, 1)),
            hue=hue,
            gain=gain,
        )
        for _ in range(count)
    )
    return _on_background(rng, scatter(rng, things), "count", None, color, atlas)


def _sample_pair(rng: Random, names: Sequence[str], held_out: bool) -> tuple[str, str]:
    for _ in range(TRIES):
        first, second = rng.choice(names), rng.choice(names)
        if first != second and held_out_pair(first, second) == held_out:
            return first, second
    kind = "held-out" if held_out else "training"
    raise ValueError(f"found no {kind} pair among {len(names)} names; give more names")


def _sample_styles(
    rng: Random, first: str, second: str, styles: Sequence[str] | None, atlas: Atlas
) -> tuple[str, str]:
    """Four times in five one style for both, where one draws both; else each its own."""
    of_first, of_second = atlas.styles_of(first, styles), atlas.styles_of(second, styles)
    shared = [style for style in of_first if style in of_second]
    if shared and rng.random() < 0.8:
        style = rng.choice(shared)
        return style, style
    return rng.choice(of_first), rng.choice(of_second)


def _sample_shift(rng: Random) -> tuple[float, float]:
    return (0.0, 1.0) if rng.random() < 0.4 else (rng.uniform(-10, 10), rng.uniform(0.85, 1.12))


def _sample_thing(rng: Random, name: str, style: str, size: float) -> Thing:
    hue, gain = _sample_shift(rng)
    angle = rng.uniform(-15, 15) if rng.random() < 0.5 else 0.0
    return Thing(name, style, 0.5, 0.5, size, angle, rng.random() < 0.5, hue, gain)


def _on_background(
    rng: Random,
    things: tuple[Thing, ...],
    kind: str,
    relation: str | None,
    color: str | None,
    atlas: Atlas,
) -> Scene:
    """Choose a background the things stand out from; silhouettes turn light on dark ones."""
    for _ in range(8):
        background = sample_background(rng, color)
        dressed = tuple(_dress(thing, background) for thing in things)
        if all(is_visible(thing, background, atlas) for thing in dressed):
            break
    return Scene(dressed, background, kind, relation)


def _dress(thing: Thing, background: Background) -> Thing:
    red, green, blue = background.rgb
    dark = 0.3 * red + 0.59 * green + 0.11 * blue < 70
    if thing.style != SILHOUETTES or not dark:
        return thing
    return replace(thing, tint=LIGHT, hue=0.0, gain=1.0)
