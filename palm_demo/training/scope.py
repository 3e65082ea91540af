"""Recipe: one author's scope, a LoRA on the finished PaLM."""

import random
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from palm_demo.checkpoints import load_palm, save_scope
from palm_demo.scoring import bits_per_byte
from palm_demo.tokenizer import Tokenizer
from palm_demo.training.loop import Batch, Schedule, train
from palm_demo.training.palm import MEASURED_CHARACTERS, next_token_batch
from palm_demo.training.place import Workplace
from palm_demo.training.prose import HELD_OUT, books, index, shelf_books, token_array, window


@dataclass(frozen=True)
class ScopeRecipe:
    author: str
    steps: int = 200
    batch: int = 16
    rank: int = 16
    learning_rate: float = 3e-3
    seed: int = 0


def train_scope(recipe: ScopeRecipe, place: Workplace) -> dict[str, float]:
    """Trains on the author's shelf and writes `scopes/AUTHOR.safetensors`.

    Returns bits per byte on the author's unread book, of the base and of the scope.
    """
    torch.manual_seed(recipe.seed)
    tokenizer = Tokenizer.load(place.tokenizer)
    palm, made = load_palm(place.weights / "palm.safetensors")
    palm.freeze_()
    palm.add_scope(recipe.author, recipe.rank)
    shelf = shelf_books(place.corpus, recipe.author)
    tokens = token_array(shelf, tokenizer, place.run / "tokens.npy")
    unlearned = set(tokenizer.never_sampled())
    unread = _unread(place.corpus, recipe.author)

    def batch_at(step: int) -> Batch:
        rng = random.Random(f"scope/{recipe.author}/{recipe.seed}/{step}")
        length = made.context + 1
        windows = [window(tokens, length, tokenizer.bos_id, rng) for _ in range(recipe.batch)]
        return next_token_batch(windows, unlearned)

    def losses_of(batch: Batch) -> dict[str, Tensor]:
        scopes = [recipe.author] * len(batch["ids"])
        return {"text": palm.loss(batch["ids"], batch["labels"], scopes)}

    def measure() -> dict[str, float]:
        return {
            name: bits_per_byte(palm, tokenizer, unread, scope, made.context)
            for name, scope in (("base", None), ("scope", recipe.author))
        }

    schedule = Schedule(recipe.steps, recipe.learning_rate, warmup=20, weight_decay=0.0)
    figures = train(palm, batch_at, losses_of, measure, schedule, place.intervals, place.run)
    save_scope(place.weights / "scopes" / f"{recipe.author}.safetensors", palm, recipe.author)
    return figures


def _unread(corpus: Path, author: str) -> str:
    """The beginning of the author's book that nobody trained on."""
    ids = {row["id"] for row in index(corpus) if row["shelf"] == author} & set(HELD_OUT)
    texts = [book.read_text(encoding="utf-8") for book in books(corpus) if book.stem in ids]
    return texts[0][: 4 * MEASURED_CHARACTERS]
