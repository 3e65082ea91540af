"""Recipe: one author's scope, trained the same way as a visitor's text on the page."""

from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from palm_demo.checkpoints import load_palm, save_adapter
from palm_demo.errors import FinetuningError
from palm_demo.inference.lora_finetuning import finetune
from palm_demo.inference.scoring import bits_per_byte
from palm_demo.inference.settings import FinetuningConfig
from palm_demo.models.tokenizers import BundledTokenizer
from palm_demo.training.paths import RunPaths
from palm_demo.training.prose import HELD_OUT, MEASURED_CHARACTERS, books, index, shelf_books

EVALUATIONS = 30
"""About how often the adapter is evaluated, if the training takes all of its steps."""


@dataclass(frozen=True)
class ScopeRecipe:
    """Settings of a scope's training.

    Attributes:
        author: a shelf of the corpus.
        steps: the most steps. Training ends earlier after `patience` evaluations on the shelf's last
            tenth without a better result.
        rank: of the LoRA matrices.
    """

    author: str
    steps: int = 1500
    batch: int = 8
    rank: int = 48
    learning_rate: float = 3e-3
    patience: int = 5
    seed: int = 0


def train_scope(recipe: ScopeRecipe, paths: RunPaths) -> dict[str, float]:
    """Trains an adapter on an author's shelf and writes `scopes/AUTHOR.safetensors`.

    The adapter that is best on the shelf's last tenth is kept. Returns bits per byte on the author's
    held-out book, of the base model and of the scope.
    """
    tokenizer = BundledTokenizer.load(paths.tokenizer)
    palm, made = load_palm(paths.weights / "palm.safetensors")
    palm.freeze_().to("cuda" if torch.cuda.is_available() else "cpu")
    unread = held_out_text(paths.corpus, recipe.author)
    shelf = [book.read_text(encoding="utf-8") for book in shelf_books(paths.corpus, recipe.author)]
    settings = FinetuningConfig(
        recipe.rank,
        recipe.steps,
        seconds=float("inf"),
        learning_rate=recipe.learning_rate,
        batch=recipe.batch,
        eval_steps=min(paths.intervals.measure_steps, max(1, recipe.steps // EVALUATIONS)),
        patience=recipe.patience,
        seed=recipe.seed,
    )
    progress = finetune(palm, tokenizer, "\n\n".join(shelf), made.context, settings)
    for latest in (shown := tqdm(progress, total=recipe.steps + 1, unit="step")):
        if latest.bits_per_byte is not None:
            shown.write(
                f"step {latest.step}: {latest.bits_per_byte:.4f} bits per byte, best {latest.best:.4f}"
            )
    save_adapter(paths.weights / "scopes" / f"{recipe.author}.safetensors", palm, latest.adapter)
    return {
        name: round(bits_per_byte(palm, tokenizer, unread, scope, made.context), 4)
        for name, scope in (("base", None), ("scope", latest.adapter))
    }


def held_out_text(corpus: Path, author: str) -> str:
    """The beginning of the author's held-out book. Raises FinetuningError if the shelf has none."""
    ids = {row["id"] for row in index(corpus) if row["shelf"] == author} & set(HELD_OUT)
    for book in books(corpus):
        if book.stem in ids:
            return book.read_text(encoding="utf-8")[: 4 * MEASURED_CHARACTERS]
    raise FinetuningError(
        f"the shelf {author!r} of {corpus} has none of the held-out books that a scope is measured on; "
        "name one in HELD_OUT of palm_demo/training/prose.py"
    )
