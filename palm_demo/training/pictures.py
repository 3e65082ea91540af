"""Scenes as tensors, and the batches MaMMUT learns from."""

import random
from collections.abc import Sequence

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from palm_demo import world
from palm_demo.models.palm import IGNORED
from palm_demo.models.tokenizers import BundledTokenizer

SIZE = 96
"""Pixels of a scene's side."""

NAMES = 128
"""Nouns that the pictures of a batch are told apart from."""

STRENGTH = 1.5
"""Of alterations: a third of the sprites stay as they are."""

NAMED_ALONE = 0.15
"""Part of the contrastive texts for one thing that leave the background out, as labels do."""


def draw(scene: world.Scene, rng: random.Random, size: int = SIZE) -> Tensor:
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


def naming_batch(rng: random.Random, size: int, side: int) -> dict[str, Tensor]:
    """`size` single things in pictures `side` pixels wide, and their numbers among the nouns."""
    numbers = {name: number for number, name in enumerate(world.concepts())}
    scenes = [world.single_scene(rng) for _ in range(size)]
    return {
        "pixels": torch.stack([draw(scene, rng, side) for scene in scenes]),
        "nouns": torch.tensor([numbers[scene.names[0]] for scene in scenes]),
    }


def mammut_batch(
    rng: random.Random, size: int, singles: float, counts: float, tokenizer: BundledTokenizer
) -> dict[str, Tensor]:
    """`size` scenes: their pixels, and what is said of them."""
    scenes = [draw_scene(rng, singles, counts) for _ in range(size)]
    words = words_batch(scenes, rng, tokenizer)
    return {"pixels": torch.stack([draw(scene, rng) for scene in scenes]), **words}


def words_batch(
    scenes: Sequence[world.Scene], rng: random.Random, tokenizer: BundledTokenizer
) -> dict[str, Tensor]:
    """What is said of scenes: the caption in its one order, the text for contrast in any.

    Also NAMES nouns, among them all of the scenes', and (b, 2) which of them the first and the last
    thing of each scene are.
    """
    captions = tokenizer.encode_batch([world.caption(scene) for scene in scenes])
    texts = tokenizer.encode_batch([_contrastive_text(scene, rng) for scene in scenes])
    text_ids = padded(texts, tokenizer.pad_id)
    return {
        "caption_ids": padded([[tokenizer.bos_id, *c] for c in captions], tokenizer.pad_id),
        "caption_labels": padded([[*c, tokenizer.eos_id] for c in captions], IGNORED),
        "text_ids": text_ids,
        "text_real": text_ids != tokenizer.pad_id,
        **_naming(scenes, rng, tokenizer),
    }


def _naming(
    scenes: Sequence[world.Scene], rng: random.Random, tokenizer: BundledTokenizer
) -> dict[str, Tensor]:
    shown = {name: None for scene in scenes for name in scene.names}
    others = [name for name in world.concepts() if name not in shown]
    names = [*shown, *rng.sample(others, max(0, NAMES - len(shown)))]
    number = {name: paths for paths, name in enumerate(names)}
    texts = tokenizer.encode_batch([world.with_article(name) for name in names])
    ids = padded(texts, tokenizer.pad_id)
    return {
        "name_ids": ids,
        "name_real": ids != tokenizer.pad_id,
        "nouns": torch.tensor([[number[s.names[0]], number[s.names[-1]]] for s in scenes]),
    }


def _contrastive_text(scene: world.Scene, rng: random.Random) -> str:
    text = rng.choice(world.captions(scene))
    if len(scene.things) == 1 and rng.random() < NAMED_ALONE:
        return text.split(" on a")[0]
    return text
