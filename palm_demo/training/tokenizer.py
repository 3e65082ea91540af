"""Recipe: the tokenizer, byte-level BPE from a folder of prose, with the world's words as single tokens."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from palm_demo import world
from palm_demo.models.tokenizers import SPECIAL_TOKENS
from palm_demo.training.paths import RunPaths
from palm_demo.training.prose import base_books, held_out_books
from palm_demo.training.world_text import world_sentences


@dataclass(frozen=True)
class TokenizerRecipe:
    """Settings of the tokenizer's training.

    Attributes:
        vocabulary: tokens learned from prose. Each word of the world that is not among them gets one
            more, so that a name is decided in one step and is always the same token.
        sentences: sentences about the world in which words are counted.
        frequent: how often a word that is part of no name has to occur in them.
    """

    vocabulary: int = 6144
    sentences: int = 20_000
    frequent: int = 20
    seed: int = 0


def train_tokenizer(recipe: TokenizerRecipe, paths: RunPaths) -> dict[str, float]:
    """Trains the tokenizer and writes `tokenizer.json`. Returns its size and bytes per token on held-out
    books."""
    bpe = tokenizers.Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=True,
    )
    bpe.train_from_iterator(_texts(paths.corpus), trainer)
    add_words(bpe, world_words(recipe))
    paths.assets.mkdir(parents=True, exist_ok=True)
    bpe.save(str(paths.tokenizer))
    texts = [book.read_text(encoding="utf-8") for book in held_out_books(paths.corpus)]
    tokens = sum(len(bpe.encode(text).ids) for text in texts)
    bytes_per_token = sum(len(text.encode()) for text in texts) / max(1, tokens)
    return {"vocabulary": bpe.get_vocab_size(), "bytes_per_token": round(bytes_per_token, 3)}


def add_words(bpe: tokenizers.Tokenizer, words: list[str]) -> None:
    """Adds a token for each word, with the space before it, that has none yet.

    No merges lead to these tokens: with `ignore_merges`, a word that is in the vocabulary is taken
    whole.
    """
    model = json.loads(bpe.to_str())["model"]
    vocabulary = model["vocab"]
    for word in words:
        for piece, _ in bpe.pre_tokenizer.pre_tokenize_str(f" {word}"):
            vocabulary.setdefault(piece, len(vocabulary))
    merges = [tuple(merge) for merge in model["merges"]]
    bpe.model = models.BPE(vocabulary, merges, ignore_merges=True)


def world_words(recipe: TokenizerRecipe) -> list[str]:
    """Words of drawn things and photographs, words above them, and frequent words of sentences about
    them."""
    concepts = world.Atlas.load().concepts
    names = [name for concept in concepts for name in (concept.name, concept.plural)]
    names += [*world.photo_nouns(), *world.everyday_words(), *world.COLORS]
    often = Counter(
        word
        for sentence in world_sentences(random.Random(recipe.seed), recipe.sentences)
        for word in sentence.split()
    )
    frequent = sorted(word.rstrip("?.:") for word, times in often.items() if times >= recipe.frequent)
    return list(dict.fromkeys([word for name in names for word in name.split()] + frequent))


def _texts(corpus: Path) -> Iterator[str]:
    for book in base_books(corpus):
        yield book.read_text(encoding="utf-8")
