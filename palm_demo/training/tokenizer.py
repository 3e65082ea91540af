"""Recipe: the tokenizer, from the world's own sentences and a folder of prose."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from palm_demo import world
from palm_demo.tokenizer import SPECIAL_TOKENS
from palm_demo.training.place import Workplace
from palm_demo.training.prose import held_out_books, training_books
from palm_demo.training.world_text import world_sentences


@dataclass(frozen=True)
class TokenizerRecipe:
    """sentences: about scenes, read beside the books. names: how often each noun of the world is
    read, so that each of its words becomes one id: a name is then decided at once, and a thing
    that is met again is met at one place."""

    vocabulary: int = 4096
    sentences: int = 60_000
    names: int = 20_000
    seed: int = 0


def train_tokenizer(recipe: TokenizerRecipe, place: Workplace) -> dict[str, float]:
    """Writes `tokenizer.json`; returns the UTF-8 bytes a token stands for in the unread books."""
    bpe = tokenizers.Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=True,
    )
    bpe.train_from_iterator(_texts(place.corpus, recipe), trainer)
    place.assets.mkdir(parents=True, exist_ok=True)
    bpe.save(str(place.tokenizer))
    texts = [book.read_text(encoding="utf-8") for book in held_out_books(place.corpus)]
    tokens = sum(len(bpe.encode(text).ids) for text in texts)
    return {"bytes_per_token": sum(len(text.encode()) for text in texts) / max(1, tokens)}


def _texts(corpus: Path, recipe: TokenizerRecipe) -> Iterator[str]:
    for book in training_books(corpus):
        yield book.read_text(encoding="utf-8")
    yield from world_sentences(random.Random(recipe.seed), recipe.sentences)
    for name in world.concepts():
        yield f" {name}" * recipe.names
