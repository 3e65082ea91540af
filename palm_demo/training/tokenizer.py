"""Recipe: the tokenizer, from the world's own sentences and a folder of prose."""

import random
from collections.abc import Iterator
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from palm_demo.tokenizer import SPECIAL_TOKENS
from palm_demo.training.prose import training_books
from palm_demo.training.world_text import world_sentences

VOCABULARY = 4096
SENTENCES = 60_000


def train_tokenizer(corpus: Path, out: Path, seed: int) -> None:
    """Writes `out`, a byte-level BPE of VOCABULARY ids."""
    bpe = tokenizers.Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=True,
    )
    bpe.train_from_iterator(_texts(corpus, random.Random(seed)), trainer)
    out.parent.mkdir(parents=True, exist_ok=True)
    bpe.save(str(out))


def _texts(corpus: Path, rng: random.Random) -> Iterator[str]:
    for book in training_books(corpus):
        yield book.read_text(encoding="utf-8")
    yield from world_sentences(rng, SENTENCES)
