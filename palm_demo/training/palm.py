"""Recipe: PaLM, trained in every step on books and on sentences about the picture world."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from palm_demo import world
from palm_demo.checkpoints import save_palm
from palm_demo.checkpoints.bundled import PaLMConfig
from palm_demo.inference.scoring import bits_per_byte
from palm_demo.models.losses import IGNORED
from palm_demo.models.palm import PaLM
from palm_demo.models.tokenizers import BundledTokenizer
from palm_demo.models.transformer import TransformerConfig
from palm_demo.training.loop import Batch, Schedule, to_device, train
from palm_demo.training.objectives import Meanings
from palm_demo.training.paths import RunPaths
from palm_demo.training.pictures import padded
from palm_demo.training.prose import base_texts, window
from palm_demo.training.world_text import Reading, labels_of, question_reading, world_window

CONTEXT = 512
WORLD_CONTEXT = 128
"""Tokens of a window of the world's sentences: questions are short, and the cost of attention grows with the
square of the length."""

WORLD_WEIGHT = 1.0
"""Weight of the world's loss beside that of the books."""

MEANINGS_AFTER = 2
"""The block after which a picture's meaning is added, where Flamingo's cross-attention shows each text
its own picture."""

MEASURED_QUESTIONS = 128
"""Held-out questions of each kind."""


@dataclass(frozen=True)
class PalmRecipe:
    """Settings of PaLM's training.

    Attributes:
        batch, world_batch: windows of books and of the world's sentences, `accumulate` times a step.
        learning_rate: of AdamW, for embeddings and gains.
        muon_rate: of Muon, for the blocks' matrices.
        decay: the last part of the steps, in which the rates fall; before it begins, `steps` may be
            changed.
        average: decay of the moving average of the weights.
    """

    steps: int = 12_000
    dim: int = 256
    depth: int = 8
    batch: int = 4
    world_batch: int = 8
    accumulate: int = 3
    learning_rate: float = 1.5e-3
    muon_rate: float = 2e-3
    weight_decay: float = 0.15
    decay: float = 0.4
    average: float = 0.998
    seed: int = 0


def new_config(recipe: PalmRecipe, vocab: int) -> PaLMConfig:
    """The configuration of a recipe's PaLM."""
    size = TransformerConfig(dim=recipe.dim, depth=recipe.depth, heads=recipe.dim // 64, vocab=vocab)
    return PaLMConfig(size, "rlhf", CONTEXT)


def next_token_batch(windows: list[list[int]], unlearned: set[int]) -> Batch:
    """A batch of windows of one length: ids and the ids that follow them. `unlearned` ids are IGNORED."""
    ids = torch.tensor(windows)
    labels = ids[:, 1:].clone()
    for token_id in unlearned:
        labels[labels == token_id] = IGNORED
    return {"ids": ids[:, :-1], "labels": labels}


def world_batch(readings: Sequence[Reading], tokenizer: BundledTokenizer) -> Batch:
    """A batch of the world's sentences.

    world_ids, world_labels: (b, n), IGNORED where nothing is to be learned. words: (m, t), the meaning
    of each media token, padded with -1. mark_of: (b, n), the number of the media token that a piece of
    text belongs to, from that token to the next one or to the text's end; -1 elsewhere.
    """
    ids = [reading.ids[:-1] for reading in readings]
    mark_of, words = [], []
    for row, reading in zip(ids, readings, strict=True):
        before, now, of_row = len(words), -1, []
        for token_id in row:
            if token_id == tokenizer.media_id:
                now = len(words)
                words.append(reading.meanings[now - before])
            elif token_id == tokenizer.bos_id:
                now = -1
            of_row.append(now)
        mark_of.append(of_row)
    return {
        "world_ids": padded(ids, tokenizer.pad_id),
        "world_labels": padded([labels_of(reading) for reading in readings], IGNORED),
        "words": padded(words, -1),
        "mark_of": padded(mark_of, -1),
    }


def train_palm(recipe: PalmRecipe, paths: RunPaths) -> dict[str, float]:
    """Trains PaLM and writes `palm.safetensors`. Returns the last figures.

    The books are stored as one file of the run. With that file and the tokenizer, a machine without a
    corpus can train.
    """
    torch.manual_seed(recipe.seed)
    tokenizer = BundledTokenizer.load(paths.tokenizer)
    made = new_config(recipe, len(tokenizer))
    palm, meanings = made.build(), Meanings(made.size.dim)
    books = base_texts(paths.corpus, tokenizer, paths.books)
    unlearned = set(tokenizer.suppress_ids())

    def batch_at(step: int) -> Batch:
        rng = random.Random(f"palm/{recipe.seed}/{step}")
        numbers = range(step * recipe.batch, (step + 1) * recipe.batch)
        prose = [window(books.tokens, CONTEXT + 1, tokenizer.bos_id, n, recipe.seed) for n in numbers]
        readings = [world_window(WORLD_CONTEXT + 1, rng, tokenizer) for _ in range(recipe.world_batch)]
        return next_token_batch(prose, unlearned) | world_batch(readings, tokenizer)

    def losses_of(batch: Batch) -> dict[str, Tensor]:
        learned = batch["world_labels"] != IGNORED
        answers = palm.decoder.logits(states_with_meanings(palm, meanings, batch)[learned])
        return {
            "prose": palm.loss(batch["ids"], batch["labels"]),
            "world": WORLD_WEIGHT * F.cross_entropy(answers.float(), batch["world_labels"][learned]),
        }

    measured = {kind: _held_out(kind, tokenizer) for kind in (*world.KINDS, "photographs")}

    def measure() -> dict[str, float]:
        figures = {"bits_per_byte": mean_bits_per_byte(palm, tokenizer, books.held_out)}
        for kind, batch in measured.items():
            batch = to_device(palm, batch)
            figures[kind] = exact_match(
                palm.decoder.logits(states_with_meanings(palm, meanings, batch)), batch["world_labels"]
            )
        save_palm(paths.weights / "palm.safetensors", palm, made)  # a long training serves before its end
        return figures

    both = nn.ModuleDict({"palm": palm, "meanings": meanings})
    schedule = Schedule(
        recipe.steps,
        recipe.learning_rate,
        decay=recipe.decay,
        weight_decay=recipe.weight_decay,
        muon_rate=recipe.muon_rate,
        average=recipe.average,
        accumulate=recipe.accumulate,
    )
    matrices = [p for p in palm.decoder.blocks.parameters() if p.ndim == 2]
    return train(both, batch_at, losses_of, measure, schedule, paths.intervals, paths.run, matrices=matrices)


def states_with_meanings(palm: PaLM, meanings: Meanings, batch: Batch) -> Tensor:
    """States after the last block, (b, n, dim), of the world's sentences, with each picture's meaning
    added."""
    decoder = palm.decoder
    vectors = meanings(batch["words"], decoder.embedding.weight)
    added = F.pad(vectors, (0, 0, 0, 1))[batch["mark_of"]]  # the last row, that of -1, says nothing
    return decoder(
        decoder.embedding(batch["world_ids"]), cross_attention={MEANINGS_AFTER: lambda states: states + added}
    )


def exact_match(logits: Tensor, labels: Tensor) -> float:
    """The fraction of rows in which each learned token is the likeliest, given those before it."""
    right = (logits.argmax(dim=-1) == labels) | (labels == IGNORED)
    return right.all(dim=1).float().mean().item()


def _held_out(kind: str, tokenizer: BundledTokenizer) -> Batch:
    """Fresh questions of a kind. New words name things that are never trained on."""
    rng = random.Random(f"palm/measured/{kind}")
    if kind == "photographs":
        questions = [world.sample_photo_question(rng) for _ in range(MEASURED_QUESTIONS)]
    else:
        names = world.unseen() if kind == "few_shot_naming" else None
        questions = [world.sample_question(rng, kind, names=names) for _ in range(MEASURED_QUESTIONS)]
    return world_batch([question_reading(q, tokenizer) for q in questions], tokenizer)


def mean_bits_per_byte(palm: PaLM, tokenizer: BundledTokenizer, texts: Sequence[str]) -> float:
    """The base model's mean bits per byte on held-out texts."""
    return sum(bits_per_byte(palm, tokenizer, text, None, CONTEXT) for text in texts) / len(texts)
