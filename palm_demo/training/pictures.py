"""Scenes as tensors."""

import random
from collections.abc import Sequence

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from palm_demo import world

STRENGTH = 1.5
"""Of alterations: a third of the sprites stay as they are."""


def draw(scene: world.Scene, rng: random.Random, size: int) -> Tensor:
    """The scene with its sprites altered at random -> (size, size, 3) uint8."""
    return as_tensor(world.render(scene, size, alter=lambda sprite: world.augment(sprite, rng, STRENGTH)))


def as_tensor(image: Image.Image) -> Tensor:
    """(size, size, 3) uint8."""
    return torch.from_numpy(np.array(image))


def normalized(pixels: Tensor) -> Tensor:
    """(b, size, size, 3) uint8 -> (b, 3, size, size) in -1..1, what the tower's transform gives
    for a square picture of its size."""
    return rearrange(pixels, "b h w c -> b c h w").float() / 127.5 - 1


def padded(rows: Sequence[Sequence[int]], fill: int) -> Tensor:
    """Rows of ids -> (b, longest), filled up on the right."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows])


def draw_scene(rng: random.Random, singles: float, counts: float) -> world.Scene:
    """One scene: `singles` and `counts` are their parts, pairs the rest."""
    dice = rng.random()
    if dice < singles:
        return world.single_scene(rng)
    if dice < singles + counts:
        return world.count_scene(rng)
    return world.pair_scene(rng, held_out=False)
