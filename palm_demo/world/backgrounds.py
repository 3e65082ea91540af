"""Backgrounds: ten colours, plain or textured, in shades whose names nobody would dispute."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from functools import lru_cache
from random import Random

import numpy as np

# Hue in degrees, saturation and value in percent, each a range. The gaps between the ranges are
# where people disagree on a colour's name (salmon, amber, teal, indigo, mauve), so none is drawn there.
SHADES: dict[str, tuple[tuple[int, int], tuple[int, int], tuple[int, int]]] = {
    "white": ((0, 360), (0, 3), (94, 100)),
    "black": ((0, 360), (0, 20), (0, 11)),
    "gray": ((0, 360), (0, 5), (42, 68)),
    "red": ((-7, 5), (78, 100), (68, 94)),
    "orange": ((24, 33), (82, 100), (93, 100)),
    "yellow": ((50, 58), (65, 100), (94, 100)),
    "green": ((95, 150), (50, 100), (45, 85)),
    "blue": ((200, 234), (52, 100), (60, 100)),
    "purple": ((268, 286), (50, 95), (42, 78)),
    "pink": ((325, 346), (25, 52), (97, 100)),
}
COLORS = tuple(SHADES)
TEXTURES = ("plain", "gradient", "noise", "stripes", "checks", "dots")
_WEIGHTS = (50, 20, 10, 7, 6, 7)
_GRAIN = 4096  # noise is cut from one fixed tile, which is cheaper than drawing fresh normals
LARGEST_SIDE = 1024
"""The largest side of a picture, in pixels: the tile is no wider."""


@dataclass(frozen=True)
class Background:
    """What lies behind the things.

    Attributes:
        rgb: 0 to 255.
        strength: how far the texture swings, as a fraction of full brightness.
        angle: of the texture, in degrees.
        period: of the texture, in fractions of the frame.
    """

    color: str
    rgb: tuple[int, int, int]
    texture: str = "plain"
    strength: float = 0.0
    angle: float = 0.0
    period: float = 0.2
    seed: int = 0


def sample_background(rng: Random, color: str | None = None) -> Background:
    """A background of `color`, or of any colour; raises ValueError for a colour that has no shades."""
    if color is None:
        color = rng.choice(COLORS)
    if color not in SHADES:
        raise ValueError(f"unknown background colour {color!r}; choose one of: {', '.join(COLORS)}")
    hue, saturation, value = (rng.uniform(*limits) for limits in SHADES[color])
    red, green, blue = colorsys.hsv_to_rgb(hue % 360 / 360, saturation / 100, value / 100)
    texture = rng.choices(TEXTURES, _WEIGHTS)[0]
    return Background(
        color,
        (round(255 * red), round(255 * green), round(255 * blue)),
        texture,
        # a white that swings far is gray, a black that swings far as well
        rng.uniform(0.03, 0.05 if color in ("white", "black") else 0.10),
        rng.uniform(0, 360),
        rng.uniform(0.08, 0.3),
        rng.getrandbits(16),
    )


def paint(background: Background, size: int) -> np.ndarray:
    """The background as (size, size, 3) uint8. The size is LARGEST_SIDE at most."""
    base = np.array(background.rgb, dtype=np.float32)
    if background.texture == "plain":
        return np.broadcast_to(base.astype(np.uint8), (size, size, 3)).copy()
    swing = _pattern(background, size) * (255 * background.strength)
    return np.clip(base + swing[..., None] + 0.5, 0, 255).astype(np.uint8)


def _pattern(background: Background, size: int) -> np.ndarray:
    """The texture as (size, size) float32 between -1 and 1 (noise: mean 0, deviation 0.5)."""
    if background.texture == "noise":
        start = background.seed % (_GRAIN - size)
        return 0.5 * _grain()[start : start + size, background.seed % 61 : background.seed % 61 + size]
    along, across = _axes(size, background.angle)
    if background.texture == "gradient":
        return along * 1.4
    turns_a, turns_b = (np.floor(axis / background.period) % 2 for axis in (along, across))
    if background.texture == "stripes":
        return turns_a * 2 - 1
    if background.texture == "checks":
        return (turns_a != turns_b).astype(np.float32) * 2 - 1
    if background.texture == "dots":
        near_a, near_b = ((axis / background.period) % 1 - 0.5 for axis in (along, across))
        return (near_a * near_a + near_b * near_b < 0.09).astype(np.float32) * 2 - 1
    raise ValueError(f"unknown texture {background.texture!r}; choose one of: {', '.join(TEXTURES)}")


def _axes(size: int, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Two turned axes over the frame, each (size, size) float32 from about -0.7 to 0.7."""
    line = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    cos, sin = np.float32(np.cos(np.radians(angle))), np.float32(np.sin(np.radians(angle)))
    x, y = line[None, :], line[:, None]
    return cos * x + sin * y, cos * y - sin * x


@lru_cache(maxsize=1)
def _grain() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((_GRAIN, LARGEST_SIDE + 64), dtype=np.float32).clip(-3, 3)
