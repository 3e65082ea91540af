"""The rows of a gallery's table, and the filters of a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from PIL import Image

from palm_demo.arguments import is_unicode
from palm_demo.concurrency import locked_cached_property
from palm_demo.errors import GalleryError, PromptError, shown
from palm_demo.media import decode_image
from palm_demo.text_limits import WORDS_BYTES, check_size

if TYPE_CHECKING:
    from lancedb.expr import Expr


FIRST_YEAR, LAST_YEAR = 1970, 2200
"""No picture was added before the first; nanoseconds since then fit into 64 bits until after the last."""


@dataclass(frozen=True)
class Filters:
    """Conditions on the pictures that a search finds.

    Attributes:
        contains: words that stand in the caption in this order, in upper or lower case.
        since: the earliest moment of being added; UTC unless it has a time zone.
    """

    contains: str | None = None
    since: datetime | None = None

    def __post_init__(self) -> None:
        """Raises GalleryError for words or a moment that no picture can have."""
        words = self.contains
        if words is not None and not (isinstance(words, str) and is_unicode(words)):
            raise GalleryError(f"contains is {shown(self.contains)}; give words (str) of valid Unicode")
        check_size("contains", words or "", WORDS_BYTES, error=GalleryError)
        if self.since is not None:
            if not isinstance(self.since, datetime):
                raise GalleryError(f"since is {shown(self.since)}; give a datetime")
            if not FIRST_YEAR <= self.since.year <= LAST_YEAR:
                raise GalleryError(
                    f"since is in the year {self.since.year}; it can be {FIRST_YEAR} to {LAST_YEAR}"
                )

    def expression(self) -> Expr | None:
        """The conditions as a LanceDB expression; None if there are none."""
        from lancedb.expr import col, lit  # importing lancedb takes over a second

        wanted = []
        if self.contains and self.contains.strip():
            wanted.append(col("caption").lower().contains(lit(self.contains.strip().lower())))
        if self.since is not None:
            wanted.append(col("added") >= lit(_in_utc(self.since)))
        if not wanted:
            return None
        both = wanted[0]
        for other in wanted[1:]:
            both &= other
        return both


EVERYTHING = Filters()


def read_since(text: str | None) -> datetime | None:
    """Parses a day or a moment, "2026-01-31" or "2026-01-31T18:30"; None for no text.

    Raises GalleryError when it is neither.
    """
    if not text or not text.strip():
        return None
    try:
        return _in_utc(datetime.fromisoformat(text.strip()))
    except (ValueError, OverflowError) as error:
        raise GalleryError(f"{text!r:.40} is not a date; write one such as 2026-01-31") from error


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)


KEY = "id"
ID_CHARACTERS = 64
"""The characters of an id: a SHA-256 in hexadecimal."""
KEY_MARK = b"lance-schema:unenforced-primary-key"
"""Tells LanceDB which column is the key by which it compares a commit with others."""


@dataclass(frozen=True)
class Row:
    """A picture as it is stored.

    Attributes:
        id: the SHA-256 of the file's bytes, so the same file is the same row.
        path: where the file lies, if the gallery does not store it.
        original: the file's bytes; None if `path` is given.
        thumbnail: a small WebP.
        phash: the perceptual hash, 64 bits.
        added: when it was added.
        embedding: (d,) float32 of length 1.
    """

    id: str
    name: str
    path: str | None
    original: bytes | None = field(repr=False)
    thumbnail: bytes = field(repr=False)
    caption: str
    phash: int
    added: datetime
    embedding: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Item:
    """A picture of the gallery as it is shown."""

    id: str
    name: str
    thumbnail: bytes = field(repr=False)
    caption: str
    added: datetime

    @locked_cached_property
    def image(self) -> Image.Image:
        """The thumbnail, decoded when it is asked for. Raises MediaError if it is damaged."""
        return decode_image(self.thumbnail, self.name)


@dataclass(frozen=True)
class Hit(Item):
    """A picture that a search found.

    Attributes:
        score: 1 at best. For a query picture the cosine; for words how well they fit beside all names
            that the model knows, 0 to 1, and more if the caption has the words.
        alike: False for a picture that is among the nearest but does not match the words.
    """

    score: float
    alike: bool = True


def schema(embedding_dim: int) -> pa.Schema:
    """The columns of a gallery's table."""
    columns = [
        pa.field(KEY, pa.string(), nullable=False, metadata={KEY_MARK: b"true"}),
        pa.field("name", pa.string(), nullable=False),
        pa.field("path", pa.string()),
        pa.field("original", pa.large_binary()),
        pa.field("thumbnail", pa.binary(), nullable=False),
        pa.field("caption", pa.string(), nullable=False),
        pa.field("phash", pa.uint64(), nullable=False),
        pa.field("added", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("embedding", pa.list_(pa.float32(), embedding_dim), nullable=False),
    ]
    return pa.schema(columns)


def as_table(rows: Sequence[Row], of: pa.Schema) -> pa.Table:
    """Rows as an Arrow table."""
    columns = {name: [getattr(row, name) for row in rows] for name in of.names if name != "embedding"}
    embeddings = np.stack([row.embedding for row in rows]).astype(np.float32)
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(
        pa.array(embeddings.ravel()), embeddings.shape[1]
    )
    return pa.table(columns, of)


SHOWN = ["id", "name", "thumbnail", "caption", "added"]
"""The columns of an Item."""


def as_item(row: Mapping) -> Item:
    """A row of the table as it is shown."""
    return Item(**{name: row[name] for name in SHOWN})


def embeddings_of(found: pa.Table, dim: int) -> np.ndarray:
    """Embeddings of found rows, (n, dim)."""
    return found["embedding"].combine_chunks().flatten().to_numpy().reshape(-1, dim)


def as_hits(found: pa.Table, embedding: np.ndarray) -> list[Hit]:
    """Found rows with their cosines to a unit embedding. These are exact, even if the index is coarse."""
    cosines = embeddings_of(found, len(embedding)) @ embedding
    rows = found.select(SHOWN).to_pylist()
    return [Hit(**row, score=float(score)) for row, score in zip(rows, cosines, strict=True)]


MOST_HITS = 10_000
"""The most pictures that a search returns."""


def check_count(k: int) -> None:
    """Raises PromptError for a number of pictures that a search cannot return."""
    if not 1 <= k <= MOST_HITS:
        raise PromptError(f"k is {k}; ask for 1 to {MOST_HITS:,} pictures")
