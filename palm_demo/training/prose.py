"""Books as training data: which of them are read, and windows of their tokens.

A corpus is a folder of .txt files. If it has an `index.csv` (columns id, title, author, shelf), a
shelf names the books of one author.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from tqdm import tqdm

from palm_demo.errors import FinetuningError
from palm_demo.models.tokenizers import BundledTokenizer

HELD_OUT = {
    "946": "Lady Susan",
    "4357": "American Fairy Tales",
    "29042": "A Tangled Tale",
    "126": "The Poison Belt",
    "557": "Puck of Pook's Hill",
    "2150": "The Works of Edgar Allan Poe, Volume 4",
    "1513-moby": "Romeo and Juliet",
    "3809": "The Master of the World",
    "159": "The Island of Doctor Moreau",
    "8164": "My Man Jeeves",
    "95": "The Prisoner of Zenda",
    "113": "The Secret Garden",
}
"""Books that are never trained on, by Gutenberg number: one of each author's shelf and two others."""

SCOPE_SHELVES = ("austen", "baum", "carroll", "doyle", "poe", "shakespeare", "verne", "wodehouse")
"""Shelves that the base model and its tokenizer don't read, so that scopes have something to add."""

HEADING = re.compile(r"(?<=\n\n)(?:CHAPTER|Chapter|[A-Z][A-Z0-9 ,.'\";:!?&()-]{3,70}$)", re.MULTILINE)
MEASURED_CHARACTERS = 6_000
"""Characters of each held-out book that a training is measured on."""

SHORTEST_TEXT = 3000
"""The fewest characters between two headings that make a chapter."""


def index(corpus: Path) -> list[dict[str, str]]:
    """The rows of the corpus' index; empty if it has none."""
    path = corpus / "index.csv"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def books(corpus: Path) -> list[Path]:
    """All books in a fixed order. Raises FinetuningError where there are none."""
    found = sorted(corpus.glob("*.txt"))
    if not found:
        raise FinetuningError(f"{corpus} holds no .txt files; name a folder of plain texts")
    return found


def training_books(corpus: Path) -> list[Path]:
    """The books that may be trained on."""
    return [book for book in books(corpus) if book.stem not in HELD_OUT]


def base_books(corpus: Path) -> list[Path]:
    """The books that the base model and its tokenizer read: those for training, without the scopes'
    shelves."""
    of_scopes = {row["id"] for row in index(corpus) if row["shelf"] in SCOPE_SHELVES}
    return [book for book in training_books(corpus) if book.stem not in of_scopes]


def held_out_books(corpus: Path) -> list[Path]:
    """The books that are never trained on."""
    return [book for book in books(corpus) if book.stem in HELD_OUT]


def shelf_books(corpus: Path, shelf: str) -> list[Path]:
    """One author's books for training. Raises FinetuningError for an unknown shelf."""
    ids = {row["id"] for row in index(corpus) if row["shelf"] == shelf}
    found = [book for book in training_books(corpus) if book.stem in ids]
    if not found:
        shelves = sorted({row["shelf"] for row in index(corpus)})
        raise FinetuningError(f"{corpus} has no shelf {shelf!r}; it has {', '.join(shelves) or 'none'}")
    return found


@dataclass(frozen=True)
class Books:
    """The training and held-out texts of the base model, in one file that can be copied to another
    machine.

    Attributes:
        tokens: (n,) uint16, all training books, each of their texts between <bos> and <eos>.
        held_out: the beginnings of the held-out books.
        read: the Gutenberg numbers of the training books.
    """

    tokens: np.ndarray
    held_out: list[str]
    read: list[str]

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, tokens=self.tokens, held_out=np.array(self.held_out), read=np.array(self.read))

    @classmethod
    def load(cls, path: Path) -> "Books":
        with np.load(path) as saved:
            return cls(saved["tokens"], saved["held_out"].tolist(), saved["read"].tolist())


def base_texts(corpus: Path | None, tokenizer: BundledTokenizer, cached: Path) -> Books:
    """The books of the base model, from the file `cached` (.npz) if it exists, otherwise from the corpus.

    Raises FinetuningError if neither is there, or the corpus has nothing to read or nothing to measure with.
    """
    if cached.is_file():
        return Books.load(cached)
    if corpus is None:
        raise FinetuningError(f"there are no books at {cached}; bring that file along, or name a --corpus")
    read, held_out = base_books(corpus), held_out_books(corpus)
    if not read or not held_out:
        raise FinetuningError(
            f"{corpus} has {len(read)} books to train on and {len(held_out)} to measure with, and both are "
            "needed; add some, or name one to measure with in HELD_OUT of palm_demo/training/prose.py"
        )
    unread = [book.read_text(encoding="utf-8")[:MEASURED_CHARACTERS] for book in held_out]
    books = Books(token_array(read, tokenizer), unread, [book.stem for book in read])
    books.save(cached)
    return books


def token_array(paths: Sequence[Path], tokenizer: BundledTokenizer) -> np.ndarray:
    """All books as one array of ids, each of their texts between <bos> and <eos>."""
    parts = []
    for path in tqdm(paths, desc="tokenizing", unit="book"):
        for ids in tokenizer.encode_batch(split_into_texts(path.read_text(encoding="utf-8"))):
            parts.append(np.array([tokenizer.bos_id, *ids, tokenizer.eos_id], dtype=np.uint16))
    return np.concatenate(parts)


def split_into_texts(book: str) -> list[str]:
    """Splits a book at its headings into chapters or tales, each of which is a text with its own end."""
    texts, start = [], 0
    for heading in HEADING.finditer(book):
        if heading.start() - start >= SHORTEST_TEXT and len(book) - heading.start() >= SHORTEST_TEXT:
            texts.append(book[start : heading.start()].strip())
            start = heading.start()
    return [*texts, book[start:].strip()]


def window(tokens: np.ndarray, length: int, bos_id: int, number: int, seed: int) -> list[int]:
    """Window `number` of a training: `length` ids that begin with <bos>, as a prompt does.

    Each pass over all tokens cuts them at other places and shuffles the pieces, so every piece is read
    equally often.
    """
    pieces = (len(tokens) - 1) // (length - 1) - 1
    reading, piece = divmod(number, pieces)
    order, shift = _reading(pieces, length - 1, seed, reading)
    start = shift + int(order[piece]) * (length - 1)
    return [bos_id, *tokens[start : start + length - 1].tolist()]


@lru_cache(maxsize=2)
def _reading(pieces: int, length: int, seed: int, reading: int) -> tuple[np.ndarray, int]:
    """The order in which a pass takes its pieces, and where the first one begins."""
    random = np.random.default_rng((seed, reading))
    return random.permutation(pieces), int(random.integers(length))
