"""Draws scenes as tensors."""

import random
from collections.abc import Sequence

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from palm_demo import world

STRENGTH = 1.5
"""Strength of the sprites' alterations: a third of the sprites stay as they are."""


def draw(scene: world.Scene, rng: random.Random, size: int) -> Tensor:
    """Draws a scene with its sprites altered at random: (size, size, 3) uint8."""
    return as_tensor(world.render(scene, size, alter=lambda sprite: world.augment(sprite, rng, STRENGTH)))


def as_tensor(image: Image.Image) -> Tensor:
    """A picture as a tensor, (rows, columns, 3) uint8."""
    return torch.from_numpy(np.array(image))


def normalized(pixels: Tensor) -> Tensor:
    """Scales (b, size, size, 3) uint8 to (b, 3, size, size) in -1..1, as the tower's transform does with
    square pictures of its size."""
    return rearrange(pixels, "b h w c -> b c h w").float() / 127.5 - 1


def padded(rows: Sequence[Sequence[int]], fill: int) -> Tensor:
    """Rows of ids as (b, longest), padded with `fill` on the right."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows])


def draw_scene(rng: random.Random, singles: float, counts: float) -> world.Scene:
    """A random scene: `singles` and `counts` are the probabilities of one thing and of several; the rest
    are pairs."""
    dice = rng.random()
    if dice < singles:
        return world.single_scene(rng)
    if dice < singles + counts:
        return world.count_scene(rng)
    return world.pair_scene(rng, held_out=False)
