"""What a scene is made of. Everything here is plain data, equal when all its parts are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from zlib import crc32

from palm_demo.world.backgrounds import Background


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
