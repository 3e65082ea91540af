"""Draws scenes: sprites are altered, resized, turned and pasted onto a painted background.

Only training alters sprites: `render(scene, alter=partial(augment, rng=rng))`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from random import Random

import numpy as np
from PIL import Image

from palm_demo.world.atlas import Atlas
from palm_demo.world.backgrounds import LARGEST_SIDE, paint
from palm_demo.world.scenes import Scene, Thing

Alter = Callable[[np.ndarray], np.ndarray]  # (cell, cell, 4) uint8 -> the same


def render(
    scene: Scene, size: int = 96, alter: Alter | None = None, atlas: Atlas | None = None
) -> Image.Image:
    """Draws a scene as an RGB picture of size x size pixels.

    `alter` changes each sprite before it is drawn (training passes `augment`). Raises ValueError when a
    thing has no drawing in its style.
    """
    if not 8 <= size <= LARGEST_SIDE:
        raise ValueError(
            f"a scene cannot be drawn {size} pixels wide; ask for at least 8, at most {LARGEST_SIDE}"
        )
    atlas = atlas or Atlas.load()
    canvas = Image.fromarray(paint(scene.background, size))
    for thing in scene.things:
        _draw(canvas, thing, size, alter, atlas)
    return canvas


def _draw(canvas: Image.Image, thing: Thing, size: int, alter: Alter | None, atlas: Atlas) -> None:
    sprite = atlas.sprite(thing.name, thing.style)
    if alter is not None or thing.tint is not None or thing.hue or thing.gain != 1:
        pixels = recolor(np.asarray(sprite), thing)
        sprite = Image.fromarray(pixels if alter is None else alter(pixels))
    if thing.mirror:
        sprite = sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    side = max(2, round(thing.size * size))
    sprite = sprite.resize((side, side), Image.Resampling.BILINEAR)
    if thing.angle:
        sprite = sprite.rotate(thing.angle, Image.Resampling.BILINEAR, expand=True)
    left = round(thing.x * size - sprite.width / 2)
    top = round(thing.y * size - sprite.height / 2)
    canvas.paste(sprite, (left, top), sprite)


def recolor(pixels: np.ndarray, thing: Thing) -> np.ndarray:
    """A copy of (..., 4) uint8 pixels with the thing's hue and gain, or its flat tint. Alpha stays."""
    changed = pixels.copy()
    if thing.tint is not None:
        changed[..., :3] = thing.tint
    elif thing.hue or thing.gain != 1:
        turned = pixels[..., :3].astype(np.float32) @ hue_matrix(round(thing.hue, 1))
        changed[..., :3] = np.clip(turned * thing.gain + 0.5, 0, 255)
    return changed


@lru_cache(maxsize=4096)
def hue_matrix(degrees: float) -> np.ndarray:
    """The (3, 3) float32 matrix that turns RGB rows about the gray axis, for `pixels @ matrix`."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees)) / np.sqrt(3)
    even, left, right = (1 + 2 * cos) / 3, (1 - cos) / 3 - sin, (1 - cos) / 3 + sin
    return np.array([[even, right, left], [left, even, right], [right, left, even]], dtype=np.float32)


def augment(sprite: np.ndarray, rng: Random, strength: float = 1.0) -> np.ndarray:
    """A changed copy of a sprite, (cell, cell, 4) uint8 with straight alpha.

    Each change happens rarely and independently: at `strength` 1 about half of all sprites stay as they
    are, at 2 a fifth.
    """
    changed = sprite.copy()
    for change, chance in CHANGES:
        if rng.random() < chance * strength:
            changed = change(changed, rng)
    return changed


def shift_colors(sprite: np.ndarray, rng: Random) -> np.ndarray:
    """Turn the hue by up to 18 degrees and change contrast and brightness a little."""
    rgb = sprite[..., :3].astype(np.float32) @ hue_matrix(round(rng.uniform(-18, 18)))
    rgb = (rgb - 128) * rng.uniform(0.8, 1.2) + 128 + rng.uniform(-20, 20)
    return _with(sprite, rgb)


def fade(sprite: np.ndarray, rng: Random) -> np.ndarray:
    """Take some or all of the colour away."""
    rgb = sprite[..., :3].astype(np.float32)
    gray = rgb @ np.array([0.3, 0.59, 0.11], np.float32)
    keep = rng.choice((0.0, 0.3, 0.6))
    return _with(sprite, gray[..., None] * (1 - keep) + rgb * keep)


def flatten(sprite: np.ndarray, rng: Random) -> np.ndarray:
    """Reduce the shades to a few, as a flat drawing has them."""
    step = rng.choice((48, 64, 85))
    return _with(sprite, (sprite[..., :3] // step).astype(np.float32) * (255 / (255 // step)))


def outline(sprite: np.ndarray, rng: Random) -> np.ndarray:
    """Draw a dark or light line of one or two pixels around the shape."""
    alpha = sprite[..., 3]
    wide = alpha
    for _ in range(rng.choice((1, 1, 2))):
        wide = _dilate(wide)
    shade = rng.choice((0, 20, 40, 255))
    cover = alpha[..., None].astype(np.float32) / 255
    changed = _with(sprite, sprite[..., :3] * cover + shade * (1 - cover))
    changed[..., 3] = wide
    return changed


def thin(sprite: np.ndarray, rng: Random) -> np.ndarray:
    """Take one pixel off the shape's rim."""
    changed = sprite.copy()
    changed[..., 3] = 255 - _dilate(255 - sprite[..., 3])
    return changed


def blur(sprite: np.ndarray, rng: Random) -> np.ndarray:
    """Average each pixel with its neighbours, alpha first, so that no dark fringe appears."""
    alpha = sprite[..., 3:].astype(np.float32)
    stacked = np.concatenate([sprite[..., :3] * (alpha / 255), alpha], axis=-1)
    for axis in (0, 1):
        stacked = (np.roll(stacked, 1, axis) + 2 * stacked + np.roll(stacked, -1, axis)) / 4
    alpha = stacked[..., 3:]
    rgb = stacked[..., :3] * (255 / np.maximum(alpha, 1))
    return np.clip(np.concatenate([rgb, alpha], axis=-1) + 0.5, 0, 255).astype(np.uint8)


def cover(sprite: np.ndarray, rng: Random) -> np.ndarray:
    """Cut away a strip along one side, at most a fifth of the cell."""
    changed = sprite.copy()
    side = len(sprite)
    cut = rng.randint(side // 12, side // 5)
    edge = rng.choice((np.s_[:cut], np.s_[-cut:], np.s_[:, :cut], np.s_[:, -cut:]))
    changed[edge] = 0
    return changed


def stretch(sprite: np.ndarray, rng: Random) -> np.ndarray:
    """Squeeze the drawing along one axis to 75 % or more, by picking rows or columns."""
    side = len(sprite)
    kept = round(side * rng.uniform(0.75, 0.95))
    picked = np.arange(kept) * side // kept
    changed = np.zeros_like(sprite)
    start = (side - kept) // 2
    if rng.random() < 0.5:
        changed[start : start + kept] = sprite[picked]
    else:
        changed[:, start : start + kept] = sprite[:, picked]
    return changed


def _with(sprite: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    changed = sprite.copy()
    changed[..., :3] = np.clip(rgb + 0.5, 0, 255)
    return changed


def _dilate(alpha: np.ndarray) -> np.ndarray:
    wide = alpha.copy()
    wide[1:] = np.maximum(wide[1:], alpha[:-1])
    wide[:-1] = np.maximum(wide[:-1], alpha[1:])
    wide[:, 1:] = np.maximum(wide[:, 1:], alpha[:, :-1])
    wide[:, :-1] = np.maximum(wide[:, :-1], alpha[:, 1:])
    return wide


CHANGES = (
    (shift_colors, 0.20),
    (fade, 0.06),
    (flatten, 0.06),
    (stretch, 0.10),
    (thin, 0.06),
    (blur, 0.06),
    (outline, 0.10),
    (cover, 0.06),
)
