"""Recipe: PaLM on books and on the world in words, mixed in every batch."""

import random
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from palm_demo.checkpoints import save_palm
from palm_demo.checkpoints.blueprints import PaLMBlueprint
from palm_demo.decoder import Size
from palm_demo.models.palm import IGNORED, PaLM
from palm_demo.scoring import bits_per_byte
from palm_demo.tokenizer import Tokenizer
from palm_demo.training.loop import Batch, Schedule, train
from palm_demo.training.place import Workplace
from palm_demo.training.prose import held_out_books, token_array, training_books, window
from palm_demo.training.world_text import world_window

CONTEXT = 512
WORLD_PART = 0.2
MEASURED_CHARACTERS = 6_000


@dataclass(frozen=True)
class PalmRecipe:
    steps: int = 2400
    batch: int = 16
    learning_rate: float = 2e-3
    seed: int = 0


def blueprint(vocab: int) -> PaLMBlueprint:
    size = Size(dim=256, depth=4, heads=4, vocab=vocab)
    return PaLMBlueprint(size, "rlhf", CONTEXT)


def next_token_batch(windows: list[list[int]], unlearned: set[int]) -> Batch:
    """Windows of one length -> ids and the ids that follow; `unlearned` ids are IGNORED."""
    ids = torch.tensor(windows)
    labels = ids[:, 1:].clone()
    for token_id in unlearned:
        labels[labels == token_id] = IGNORED
    return {"ids": ids[:, :-1], "labels": labels}


def train_palm(recipe: PalmRecipe, place: Workplace) -> dict[str, float]:
    """Trains and writes `palm.safetensors`; returns the last figures."""
    torch.manual_seed(recipe.seed)
    tokenizer = Tokenizer.load(place.tokenizer)
    made = blueprint(len(tokenizer))
    palm = made.build()
    tokens = token_array(training_books(place.corpus), tokenizer, place.run / "tokens.npy")
    unlearned = set(tokenizer.never_sampled())

    def batch_at(step: int) -> Batch:
        rng = random.Random(f"palm/{recipe.seed}/{step}")
        worldly = round(recipe.batch * WORLD_PART)
        windows = [world_window(CONTEXT + 1, rng, tokenizer) for _ in range(worldly)]
        windows += [window(tokens, CONTEXT + 1, tokenizer.bos_id, rng) for _ in range(recipe.batch - worldly)]
        return next_token_batch(windows, unlearned)

    def losses_of(batch: Batch) -> dict[str, Tensor]:
        return {"text": palm.loss(batch["ids"], batch["labels"])}

    def measure() -> dict[str, float]:
        return {"bits_per_byte": mean_bits_per_byte(palm, tokenizer, place.corpus, scope=None)}

    schedule = Schedule(recipe.steps, recipe.learning_rate)
    figures = train(palm, batch_at, losses_of, measure, schedule, place.intervals, place.run)
    save_palm(place.weights / "palm.safetensors", palm, made)
    return figures


def mean_bits_per_byte(palm: PaLM, tokenizer: Tokenizer, corpus: Path, scope: str | None) -> float:
    """Over the beginnings of the books that were not read."""
    texts = [book.read_text(encoding="utf-8") for book in held_out_books(corpus)]
    scores = [bits_per_byte(palm, tokenizer, text[:MEASURED_CHARACTERS], scope, CONTEXT) for text in texts]
    return sum(scores) / len(scores)
