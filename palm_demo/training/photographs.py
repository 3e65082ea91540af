"""Photographs for the tower's training: crops of a few of them, whole or cut out.

They have no captions. They teach the difference between photographs and drawings, not what photographs
show.
"""

import random
from pathlib import Path

import numpy as np
from PIL import Image

from palm_demo import world
from palm_demo.errors import MediaError
from palm_demo.media import open_image
from palm_demo.world.backgrounds import paint

LONGEST = 640
"""The longer side of a photograph in memory, in pixels."""

LEAST_AREA = 0.08
"""The least fraction of a photograph that a crop shows."""

CUT_OUT = 0.4
"""Fraction of the crops that are cut out in some shape and put on a background of the world's."""

LEAST_SHOWN = 0.15
"""The least fraction of a picture that such a shape covers."""

BUMPS = 5
"""The most bumps of a shape's outline along each side."""


class Photographs:
    """The pictures of a folder, read once. `crop` draws from them."""

    def __init__(self, folder: Path):
        paths = [
            path for path in sorted(folder.iterdir()) if path.suffix.lower() in (".jpg", ".jpeg", ".png")
        ]
        if not paths:
            raise MediaError(f"{folder} has no photographs (.jpg, .png) to train on; give it some")
        self.pictures = [open_image(path, max_side=LONGEST) for path in paths]

    def crop(self, rng: random.Random, side: int) -> tuple[np.ndarray, tuple[float, float]]:
        """A random crop (side, side, 3) uint8, and a point in it that shows the photograph, x and y from
        0 to 1."""
        picture = rng.choice(self.pictures)
        width, height = picture.size
        area, ratio = rng.uniform(LEAST_AREA, 1) * width * height, rng.uniform(0.75, 1.33)
        box_width, box_height = min(width, (area * ratio) ** 0.5), min(height, (area / ratio) ** 0.5)
        left, top = rng.uniform(0, width - box_width), rng.uniform(0, height - box_height)
        box = (left, top, left + box_width, top + box_height)
        crop = picture.resize((side, side), Image.Resampling.BILINEAR, box)
        if rng.random() < 0.5:
            crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = np.array(crop)
        if rng.random() >= CUT_OUT:
            return pixels, (rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.9))
        shape = outline(rng, side)
        rows, columns = np.nonzero(shape)
        at = rng.randrange(len(rows))
        behind = paint(world.sample_background(rng), side)
        place = (columns[at] + 0.5) / side, (rows[at] + 0.5) / side
        return np.where(shape[..., None], pixels, behind), place


def outline(rng: random.Random, side: int) -> np.ndarray:
    """A random shape about the middle of a picture, (side, side) bool."""
    while True:
        bumps = rng.randint(3, BUMPS)
        heights = np.array([[rng.uniform(0, 255) for _ in range(bumps)] for _ in range(bumps)], np.uint8)
        smooth = np.asarray(
            Image.fromarray(heights).resize((side, side), Image.Resampling.BICUBIC), np.float32
        )
        line = (np.arange(side) + 0.5) / side * 2 - 1
        far = np.hypot(line[:, None] * rng.uniform(1, 1.6), line[None] * rng.uniform(1, 1.6))
        shape = smooth > 255 * (far - 0.35)
        if LEAST_SHOWN < shape.mean() < 1:
            return shape
