"""Scenes: which thing stands where, on what background.

All sampling takes a `random.Random` and nothing else. Lengths and places are fractions of the frame, x
to the right and y downwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random
from zlib import crc32

import numpy as np

from palm_demo.world.atlas import Atlas
from palm_demo.world.backgrounds import Background, sample_background


@dataclass(frozen=True)
class Thing:
    """One drawing in a frame.

    Attributes:
        x, y: its centre, from the upper left corner, in fractions of the frame.
        size: its longer side, in fractions of the frame.
        angle: degrees, counterclockwise.
        hue: degrees by which its colours are turned.
        gain: the factor on its brightness.
        tint: one RGB colour in which it is painted flat.
    """

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
        """Half the side of a box that holds the turned drawing, in fractions of the frame."""
        turn = math.radians(self.angle)
        return self.size / 2 * (abs(math.cos(turn)) + abs(math.sin(turn)))


@dataclass(frozen=True)
class Scene:
    """Things on a background.

    Attributes:
        kind: "single", "pair" or "count".
        relation: in a pair "left" or "above", where things[0] stands to things[1]; elsewhere None.
    """

    things: tuple[Thing, ...]
    background: Background
    kind: str
    relation: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(thing.name for thing in self.things)


def held_out_pair(a: str, b: str) -> bool:
    """Whether two nouns never share a scene in training: one pair in ten, chosen by the CRC-32 of their
    names."""
    return crc32("|".join(sorted((a, b))).encode()) % 10 == 0


GAP = 0.02  # least room between two things
TRIES_PER_THING = 40


def place_alone(rng: Random, thing: Thing) -> Thing:
    """Places a thing anywhere it fits whole. One that is wider than the frame goes to the middle."""
    low, high = thing.reach, 1 - thing.reach
    if low >= high:
        return replace(thing, x=0.5, y=0.5)
    return replace(thing, x=rng.uniform(low, high), y=rng.uniform(low, high))


def place_in_order(rng: Random, things: tuple[Thing, Thing], relation: str) -> tuple[Thing, Thing]:
    """Places the first thing to the "left" of the second or "above" it, shrinking both if necessary.

    Across that axis they stay nearly level, so that no other relation can be meant.
    """
    taken = 2 * sum(thing.reach for thing in things)
    shrink = min(1.0, (1 - 2 * GAP) / taken)
    first, second = (replace(thing, size=thing.size * shrink) for thing in things)
    spare = 1 - GAP - 2 * (first.reach + second.reach)
    before = rng.uniform(0, spare)
    near = before + first.reach
    far = 1 - rng.uniform(0, spare - before) - second.reach
    level, offset = rng.uniform(0.32, 0.68), rng.uniform(-0.05, 0.05)
    near_side = _inside(level - offset, first.reach)
    far_side = _inside(level + offset, second.reach)
    if relation == "above":
        return replace(first, x=near_side, y=near), replace(second, x=far_side, y=far)
    return replace(first, x=near, y=near_side), replace(second, x=far, y=far_side)


def scatter(rng: Random, things: tuple[Thing, ...]) -> tuple[Thing, ...]:
    """Places things anywhere without touching one another, shrinking all of them while they don't fit."""
    while True:
        placed = _try_to_scatter(rng, things)
        if placed is not None:
            return placed
        things = tuple(replace(thing, size=thing.size * 0.96) for thing in things)


def touch(a: Thing, b: Thing) -> bool:
    """Whether the boxes around two things are closer than GAP."""
    room = a.reach + b.reach + GAP
    return abs(a.x - b.x) < room and abs(a.y - b.y) < room


def _try_to_scatter(rng: Random, things: tuple[Thing, ...]) -> tuple[Thing, ...] | None:
    placed: list[Thing] = []
    for thing in things:
        for _ in range(TRIES_PER_THING):
            spot = place_alone(rng, thing)
            if not any(touch(spot, other) for other in placed):
                placed.append(spot)
                break
        else:
            return None
    return tuple(placed)


def _inside(value: float, reach: float) -> float:
    return min(max(value, reach), 1 - reach)


DISTANCE = 70  # of two colours, in RGB units; below it edges vanish at 96 pixels
SHARE = 0.3  # of a drawing's opaque pixels that have to differ that much


def is_visible(thing: Thing, background: Background, atlas: Atlas) -> bool:
    """Whether enough of the thing's pixels differ clearly from the background's colour."""
    behind = np.array(background.rgb, dtype=np.float32)
    colors = np.array([thing.tint], np.float32) if thing.tint else _palette(atlas, thing.name, thing.style)
    far = np.square(colors - behind).sum(axis=-1) > DISTANCE**2
    return bool(far.mean() >= SHARE)


@lru_cache(maxsize=8192)
def _palette(atlas: Atlas, name: str, style: str) -> np.ndarray:
    """Up to 256 of a drawing's opaque pixels, evenly taken: (n, 3) float32."""
    pixels = atlas.pixels(name, style).reshape(-1, 4)
    opaque = pixels[pixels[:, 3] > 128][:, :3]
    return opaque[:: max(1, len(opaque) // 256)].astype(np.float32)


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
    """A scene of one large thing. `names` defaults to the trained concepts, `styles` to all, `color` to
    any."""
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
    """A scene of two different things, one clearly to the left of or above the other.

    `held_out` draws from the one pair in ten that is never trained on, otherwise from the other nine.
    Raises ValueError when `names` has no such pair.
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
    """A scene of two given things, the first to the "left" of the second or "above" it."""
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
    """A scene of two to five copies of one thing in one style, none touching another."""
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
    """Styles for two things: four times in five a shared one, where one style draws both."""
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
