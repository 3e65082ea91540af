"""Draws scenes: sprites resized, turned and pasted onto a painted background."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image

from palm_demo.world.atlas import Atlas
from palm_demo.world.backgrounds import paint
from palm_demo.world.things import Scene, Thing

Alter = Callable[[np.ndarray], np.ndarray]  # (cell, cell, 4) uint8 -> the same


def render(
    scene: Scene, size: int = 96, alter: Alter | None = None, atlas: Atlas | None = None
) -> Image.Image:
    """The scene as an RGB picture of size x size pixels.

    `alter` changes each sprite before it is drawn (training passes `augment`); raises ValueError
    when a thing has no drawing in its style.
    """
    if size < 8:
        raise ValueError(f"a scene cannot be drawn {size} pixels wide; ask for at least 8")
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
    """A copy of (..., 4) uint8 pixels with the thing's hue, gain or flat tint; alpha stays."""
    changed = pixels.copy()
    if thing.tint is not None:
        changed[..., :3] = thing.tint
    elif thing.hue or thing.gain != 1:
        turned = pixels[..., :3].astype(np.float32) @ hue_matrix(round(thing.hue, 1))
        changed[..., :3] = np.clip(turned * thing.gain + 0.5, 0, 255)
    return changed


@lru_cache(maxsize=4096)
def hue_matrix(degrees: float) -> np.ndarray:
    """(3, 3) float32 that turns RGB rows about the gray axis, for `pixels @ matrix`."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees)) / np.sqrt(3)
    even, left, right = (1 + 2 * cos) / 3, (1 - cos) / 3 - sin, (1 - cos) / 3 + sin
    return np.array([[even, right, left], [left, even, right], [right, left, even]], dtype=np.float32)
