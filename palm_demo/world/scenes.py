"""Scenes: which thing stands where, on what. All sampling takes a `random.Random` and nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from zlib import crc32

from palm_demo.world.atlas import Atlas
from palm_demo.world.backgrounds import Background, sample_background
from palm_demo.world.visibility import is_visible

SILHOUETTES = "fluent-emoji-high-contrast"  # this style is drawn in black alone
COUNTS = (2, 3, 4, 5)
GAP = 0.02  # least room between two things, in fractions of the frame
TRIES = 1000


@dataclass(frozen=True)
class Thing:
    """One drawing in a frame. `x`, `y` (centre, from the upper left corner) and `size` (its longer
    side) are fractions of the frame; `angle` in degrees counterclockwise; `hue` in degrees and `gain`
    (a factor) shift its colours; `tint` paints it flat in one RGB colour."""

    name: str
    style: str
    x: float
    y: float
    size: float
    angle: float = 0.0
    mirror: bool = False
    hue: float = 0.0
    gain: float = 1.0
    tint: tuple[int, int, int] | None = None

    @property
    def reach(self) -> float:
        """Half the side of a box that surely holds the turned drawing, in fractions of the frame."""
        turn = math.radians(self.angle)
        return self.size / 2 * (abs(math.cos(turn)) + abs(math.sin(turn)))


@dataclass(frozen=True)
class Scene:
    """Things on a background. `kind` is "single", "pair" or "count". In a pair, `relation` is "left"
    or "above": how things[0] stands to things[1]. Elsewhere it is None."""

    things: tuple[Thing, ...]
    background: Background
    kind: str
    relation: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(thing.name for thing in self.things)


def held_out_pair(a: str, b: str) -> bool:
    """Whether two nouns never share a scene in training (one pair in ten, by their names' CRC-32)."""
    return crc32("|".join(sorted((a, b))).encode()) % 10 == 0


def single_scene(
    rng: Random,
    *,
    styles: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    color: str | None = None,
    atlas: Atlas | None = None,
) -> Scene:
    """One large thing. `names` defaults to the trained concepts, `styles` to all, `color` to any."""
    atlas, names = _world(atlas, names)
    name = rng.choice(names)
    thing = _sample_thing(rng, name, _sample_style(rng, [name], styles, atlas), rng.uniform(0.45, 0.9))
    low, high = thing.reach, 1 - thing.reach
    placed = _place(thing, rng.uniform(low, high), rng.uniform(low, high)) if low < high else _place(thing, 0.5, 0.5)
    return _on_background(rng, (placed,), "single", None, color, atlas)


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
    atlas, names = _world(atlas, names)
    first, second = _sample_pair(rng, names, held_out)
    relation = relation or rng.choice(("left", "above"))
    if relation not in ("left", "above"):
        raise ValueError(f"unknown relation {relation!r}; choose 'left' or 'above'")
    shared = _sample_style(rng, [first, second], styles, atlas) if rng.random() < 0.8 else None
    things = []
    for name in (first, second):
        style = shared or _sample_style(rng, [name], styles, atlas)
        things.append(_sample_thing(rng, name, style, rng.uniform(0.34, 0.47)))
    things = _fit_side_by_side(things)
    spare = 1 - GAP - 2 * sum(thing.reach for thing in things)
    before = rng.uniform(0, spare)
    near = before + things[0].reach
    far = 1 - rng.uniform(0, spare - before) - things[1].reach
    # the other axis stays nearly level, so that only one relation can be meant
    level = rng.uniform(0.32, 0.68)
    offset = rng.uniform(-0.1, 0.1)
    sides = [_clip(level + offset * sign, thing.reach) for sign, thing in zip((-0.5, 0.5), things)]
    spots = [(near, sides[0]), (far, sides[1])]
    if relation == "above":
        spots = [(y, x) for x, y in spots]
    placed = tuple(_place(thing, *spot) for thing, spot in zip(things, spots))
    return _on_background(rng, placed, "pair", relation, color, atlas)


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
    atlas, names = _world(atlas, names)
    count = rng.choice(COUNTS) if count is None else count
    if count not in COUNTS:
        raise ValueError(f"a count scene holds {COUNTS[0]} to {COUNTS[-1]} things, not {count}")
    name = rng.choice(names)
    style = _sample_style(rng, [name], styles, atlas)
    largest = {2: 0.42, 3: 0.38, 4: 0.36, 5: 0.32}[count]
    hue, gain = _sample_shift(rng)
    things = [
        Thing(name, style, 0.5, 0.5, largest * rng.uniform(0.75, 1), rng.uniform(-12, 12), rng.random() < 0.5, hue, gain)
        for _ in range(count)
    ]
    return _on_background(rng, _scatter(rng, things), "count", None, color, atlas)


def _world(atlas: Atlas | None, names: Sequence[str] | None) -> tuple[Atlas, Sequence[str]]:
    atlas = atlas or Atlas.load()
    if names is None:
        return atlas, atlas.trained
    if not names:
        raise ValueError("names is empty; give at least one concept, or None for all trained ones")
    return atlas, names


def _sample_pair(rng: Random, names: Sequence[str], held_out: bool) -> tuple[str, str]:
    for _ in range(TRIES):
        first, second = rng.choice(names), rng.choice(names)
        if first != second and held_out_pair(first, second) == held_out:
            return first, second
    kind = "held-out" if held_out else "training"
    raise ValueError(f"found no {kind} pair among {len(names)} names; give more names")


def _sample_style(rng: Random, names: list[str], styles: Sequence[str] | None, atlas: Atlas) -> str:
    wanted = atlas.styles if styles is None else styles
    drawn = [style for style in wanted if all(atlas.has(name, style) for name in names)]
    if not drawn:
        raise ValueError(f"none of the styles {', '.join(wanted)} draws {' and '.join(names)}; allow more styles")
    return rng.choice(drawn)


def _sample_shift(rng: Random) -> tuple[float, float]:
    return (0.0, 1.0) if rng.random() < 0.4 else (rng.uniform(-10, 10), rng.uniform(0.85, 1.12))


def _sample_thing(rng: Random, name: str, style: str, size: float) -> Thing:
    hue, gain = _sample_shift(rng)
    angle = rng.uniform(-15, 15) if rng.random() < 0.5 else 0.0
    return Thing(name, style, 0.5, 0.5, size, angle, rng.random() < 0.5, hue, gain)


def _resize(thing: Thing, factor: float) -> Thing:
    return Thing(**{**vars(thing), "size": thing.size * factor})


def _place(thing: Thing, x: float, y: float) -> Thing:
    return Thing(**{**vars(thing), "x": x, "y": y})


def _clip(value: float, reach: float) -> float:
    return min(max(value, reach), 1 - reach)


def _fit_side_by_side(things: list[Thing]) -> list[Thing]:
    taken = 2 * sum(thing.reach for thing in things)
    room = 1 - 2 * GAP
    return things if taken <= room else [_resize(thing, room / taken) for thing in things]


def _scatter(rng: Random, things: list[Thing]) -> tuple[Thing, ...]:
    """Put the things where they fit; after many misses, shrink them all and try again."""
    while True:
        placed: list[Thing] = []
        for thing in things:
            for _ in range(40):
                reach = thing.reach
                spot = _place(thing, rng.uniform(reach, 1 - reach), rng.uniform(reach, 1 - reach))
                if not any(_touch(spot, other) for other in placed):
                    placed.append(spot)
                    break
            else:
                break
        if len(placed) == len(things):
            return tuple(placed)
        things = [_resize(thing, 0.96) for thing in things]


def _touch(a: Thing, b: Thing) -> bool:
    room = a.reach + b.reach + GAP
    return abs(a.x - b.x) < room and abs(a.y - b.y) < room


def _on_background(
    rng: Random, things: tuple[Thing, ...], kind: str, relation: str | None, color: str | None, atlas: Atlas
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
    return Thing(**{**vars(thing), "tint": (240, 240, 240), "hue": 0.0, "gain": 1.0})
