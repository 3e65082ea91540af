"""The world in words: what the language model and the tokenizer read of it."""

import random
from collections.abc import Iterator

from palm_demo import world
from palm_demo.prompting import encode_interleaved
from palm_demo.tokenizer import MEDIA, Tokenizer

SCENES = (world.single_scene, world.pair_scene, world.count_scene)


def world_sentences(rng: random.Random, count: int) -> Iterator[str]:
    """Captions, and questions without their marks."""
    for _ in range(count):
        if rng.random() < 0.5:
            yield rng.choice(world.captions(rng.choice(SCENES)(rng)))
        else:
            question = world.sample_question(rng)
            yield question.text.replace(MEDIA, "")


def world_document(rng: random.Random, tokenizer: Tokenizer) -> list[int]:
    """One captioned picture or answered question as ids, marks and <eos> included."""
    if rng.random() < 0.15:
        ids = tokenizer.encode(rng.choice(world.captions(rng.choice(SCENES)(rng))))
    else:
        question = world.sample_question(rng)
        ids = encode_interleaved(question.text, tokenizer)
    return [tokenizer.bos_id, *ids, tokenizer.eos_id]


def world_window(length: int, rng: random.Random, tokenizer: Tokenizer) -> list[int]:
    """Documents one after another, cut at `length` ids."""
    ids: list[int] = []
    while len(ids) < length:
        ids += world_document(rng, tokenizer)
    return ids[:length]
