"""What one row of a gallery holds, on disk and in Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from io import BytesIO

import numpy as np
import pyarrow as pa
from PIL import Image

from palm_demo.threads import made_once

KEY = "id"
KEY_MARK = b"lance-schema:unenforced-primary-key"
"""Tells LanceDB which column tells rows apart: each commit is compared with others by it, no more."""


@dataclass(frozen=True)
class Row:
    """A picture as it is written. `id` is the SHA-256 of the original's bytes, so that the same file is
    the same row; `phash` says what it looks like in 64 bits. Where `path` is given, the original stays
    there and `original` is None."""

    id: str
    name: str
    path: str | None
    original: bytes | None = field(repr=False)
    thumbnail: bytes = field(repr=False)
    caption: str
    phash: int
    added: datetime
    latent: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Item:
    """A picture of the gallery as it is shown."""

    id: str
    name: str
    thumbnail: bytes = field(repr=False)
    caption: str
    added: datetime

    @made_once
    def image(self) -> Image.Image:
        """The thumbnail, decoded when it is asked for."""
        with Image.open(BytesIO(self.thumbnail)) as image:
            image.load()
            return image


@dataclass(frozen=True)
class Hit(Item):
    """One found picture; score is the cosine, -1 to 1."""

    score: float


def schema(dim_latents: int) -> pa.Schema:
    """The table's columns."""
    columns = [
        pa.field(KEY, pa.string(), nullable=False, metadata={KEY_MARK: b"true"}),
        pa.field("name", pa.string(), nullable=False),
        pa.field("path", pa.string()),
        pa.field("original", pa.large_binary()),
        pa.field("thumbnail", pa.binary(), nullable=False),
        pa.field("caption", pa.string(), nullable=False),
        pa.field("phash", pa.uint64(), nullable=False),
        pa.field("added", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("latent", pa.list_(pa.float32(), dim_latents), nullable=False),
    ]
    return pa.schema(columns)


def as_table(rows: Sequence[Row], of: pa.Schema) -> pa.Table:
    """Rows as Arrow."""
    columns = {name: [getattr(row, name) for row in rows] for name in of.names if name != "latent"}
    latents = np.stack([row.latent for row in rows]).astype(np.float32)
    columns["latent"] = pa.FixedSizeListArray.from_arrays(pa.array(latents.ravel()), latents.shape[1])
    return pa.table(columns, of)


SHOWN = ["id", "name", "thumbnail", "caption", "added"]
"""The columns that an Item is made of."""


def as_item(row: Mapping) -> Item:
    return Item(**{name: row[name] for name in SHOWN})


def as_hits(found: pa.Table, latent: np.ndarray) -> list[Hit]:
    """Found rows with their cosines to a unit latent: exact, however coarse the index that found them."""
    latents = found["latent"].combine_chunks().flatten().to_numpy().reshape(-1, len(latent))
    rows = found.select(SHOWN).to_pylist()
    return [Hit(**row, score=float(score)) for row, score in zip(rows, latents @ latent, strict=True)]
