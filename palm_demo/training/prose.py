"""Books as training data: which are read, and windows of their tokens.

A corpus is a folder of .txt files; where it has an `index.csv` (columns id, title, author,
shelf), a shelf names the books of one author.
"""

import csv
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from palm_demo.tokenizer import Tokenizer

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
"""Books never trained on, by Gutenberg number: one of each author's shelf and two others."""


def index(corpus: Path) -> list[dict[str, str]]:
    """Rows of the corpus' index, empty where it has none."""
    path = corpus / "index.csv"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def books(corpus: Path) -> list[Path]:
    """All books, in a fixed order. Raises FileNotFoundError where there are none."""
    found = sorted(corpus.glob("*.txt"))
    if not found:
        raise FileNotFoundError(f"{corpus} holds no .txt files; name a folder of plain texts")
    return found


def training_books(corpus: Path) -> list[Path]:
    return [book for book in books(corpus) if book.stem not in HELD_OUT]


def held_out_books(corpus: Path) -> list[Path]:
    return [book for book in books(corpus) if book.stem in HELD_OUT]


def shelf_books(corpus: Path, shelf: str) -> list[Path]:
    """One author's books for training. Raises ValueError on an unknown shelf."""
    ids = {row["id"] for row in index(corpus) if row["shelf"] == shelf}
    found = [book for book in training_books(corpus) if book.stem in ids]
    if not found:
        shelves = sorted({row["shelf"] for row in index(corpus)})
        raise ValueError(f"{corpus} has no shelf {shelf!r}; it has {', '.join(shelves) or 'none'}")
    return found


def token_array(paths: Sequence[Path], tokenizer: Tokenizer, cache: Path) -> np.ndarray:
    """All books as one array of ids, each between <bos> and <eos>; kept in `cache` (.npy)."""
    if cache.is_file():
        return np.load(cache, mmap_mode="r")
    parts = []
    for path in tqdm(paths, desc="tokenizing", unit="book"):
        ids = tokenizer.encode(path.read_text(encoding="utf-8"))
        parts.append(np.array([tokenizer.bos_id, *ids, tokenizer.eos_id], dtype=np.uint16))
    cache.parent.mkdir(parents=True, exist_ok=True)
    np.save(cache, np.concatenate(parts))
    return np.load(cache, mmap_mode="r")


def window(tokens: np.ndarray, length: int, bos_id: int, rng: random.Random) -> list[int]:
    """`length` ids from a random place, <bos> first, as a prompt begins."""
    start = rng.randrange(len(tokens) - length)
    return [bos_id, *tokens[start : start + length - 1].tolist()]
