"""A gallery: one LanceDB table in a folder, in memory or on S3. The only file that knows LanceDB's tables."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from palm_demo.errors import GalleryError
from palm_demo.gallery import index
from palm_demo.gallery.filters import EVERYTHING, Filters
from palm_demo.gallery.rows import SHOWN, Hit, Item, Row, as_hits, as_item, as_table, schema
from palm_demo.installation import COMMAND

if TYPE_CHECKING:
    from lancedb.table import Table

NAME = "pictures_"
"""A table is called after the weights that made its latents, so that those of two never meet in one."""
INDEX_CACHE_BYTES, METADATA_CACHE_BYTES = 400_000_000, 100_000_000
"""What a process keeps of what it has read; the index of a million pictures fits. LanceDB's own limits, 6 GiB
and 1 GiB, fill up as a gallery is written to, since versions that are gone stay too."""


class Gallery:
    """Pictures, what is said of them, and their unit latents, searched by cosine.

    Every write is whole or not there at all, and other processes see it at once. Many threads and
    processes may use one gallery.
    """

    def __init__(self, place: str, fingerprint: str, table: Table):
        """See `open_gallery`."""
        self.place, self.fingerprint, self._table = place, fingerprint, table

    @property
    def table(self) -> Table:
        """As it is now, whoever wrote to it last. One look per operation: LanceDB's own
        `read_consistency_interval=0` looks several times in a search."""
        self._table.checkout_latest()
        return self._table

    def __len__(self) -> int:
        with explained(self.place):
            return self.table.count_rows()

    @property
    def untouched(self) -> bool:
        """Whether nothing was ever written to it."""
        with explained(self.place):
            table = self.table
            return not table.count_rows() and table.version <= index.VERSIONS_OF_NEW

    @property
    def indexed(self) -> bool:
        """Whether it has grown so much that its latents have an index."""
        with explained(self.place):
            return index.has_latents(self.table)

    def add(self, rows: Sequence[Row]) -> int:
        """Writes rows, all at once, but for those whose id is there already; how many were new."""
        if not rows:
            return 0
        with explained(self.place):
            table = self.table
            merge = table.merge_insert("id").when_not_matched_insert_all()
            merged = merge.execute(as_table(rows, table.schema))
            return merged.num_inserted_rows

    def remove(self, ids: Sequence[str]) -> int:
        """Takes pictures out; how many there were of these ids."""
        if not ids:
            return 0
        with explained(self.place):
            table = self.table
            removed = table.delete(_one_of(ids)).num_deleted_rows
            index.tidy(table)
            return removed

    def tidy(self) -> None:
        """After many writes: brings the indices up to date and small files together."""
        with explained(self.place):
            index.tidy(self.table)

    def nearest(self, latent: np.ndarray, k: int, filters: Filters = EVERYTHING) -> list[Hit]:
        """The k pictures nearest to a unit latent (d,), best first; all of them if k is more."""
        with explained(self.place):
            query = self.table.search(latent, "latent", "vector")
            found = _found(query, index.REFINED * k, filters, "_distance")
        # LanceDB's own refining reads the latents once more, which takes a good part of a search
        return sorted(as_hits(found, latent), key=lambda hit: -hit.score)[:k]

    def matching(self, latent: np.ndarray, words: str, k: int, filters: Filters = EVERYTHING) -> list[Hit]:
        """The k best pictures by two rankings, nearness to a latent and full text search of the
        captions, joined by reciprocal ranks (Cormack et al. 2009). Their scores are cosines still."""
        from lancedb.query import MatchQuery

        with explained(self.place):
            query = self.table.search(vector_column_name="latent", query_type="hybrid")
            query = query.vector(latent).text(MatchQuery(words, "caption")).refine_factor(index.REFINED)
            return as_hits(_found(query, k, filters), latent)

    def sample(self, count: int, seed: int | None = None) -> list[Item]:
        """Some pictures of the gallery, all of them if there are no more."""
        with explained(self.place):
            table = self.table
            there = table.count_rows()
            places = random.Random(seed).sample(range(there), min(count, there))
            if not places:
                return []
            found = table.take_offsets(places).select(SHOWN).to_arrow()
        return [as_item(row) for row in found.to_pylist()]

    def original(self, id: str) -> bytes:
        """The picture file itself. Raises GalleryError for an unknown id and a file that has gone."""
        with explained(self.place):
            query = self.table.search().where(_one_of([id])).select(["name", "path", "original"])
            found = query.limit(1).to_arrow().to_pylist()
        if not found:
            raise GalleryError(f"there is no picture {id!r:.40} in the gallery; it may have been removed")
        return original_of(found[0])

    def batches(
        self, columns: Sequence[str], size: int = 256, ids: Sequence[str] | None = None
    ) -> Iterator[pa.Table]:
        """Rows in parts, some of their columns: all of them, or those of some ids."""
        with explained(self.place):
            query = self.table.search().select(list(columns))
            query = query if ids is None else query.where(_one_of(ids))
            for batch in query.to_batches(size):
                if len(batch):
                    yield pa.Table.from_batches([batch])

    def latents(self, ids: Sequence[str]) -> dict[str, np.ndarray]:
        """Id -> unit latent (d,), of those that are there."""
        if not ids:
            return {}
        with explained(self.place):
            found = self.table.search().where(_one_of(ids)).select(["id", "latent"]).to_arrow()
        return {row["id"]: np.array(row["latent"], np.float32) for row in found.to_pylist()}


def _found(query, count: int, filters: Filters, *ranked: str) -> pa.Table:
    """The first rows of what a query finds. ranked: the column that it is ordered by, if it has to be
    asked for."""
    query = query.distance_type("cosine").nprobes(index.PROBES)
    wanted = filters.expression()
    query = query if wanted is None else query.where(wanted)
    return query.select([*SHOWN, "latent", *ranked]).limit(count).to_arrow()


def original_of(row: dict) -> bytes:
    """A row's picture file, from the row or from where it lies."""
    if row["original"] is not None:
        return row["original"]
    try:
        return Path(row["path"]).read_bytes()
    except OSError as error:
        raise GalleryError(
            f"{row['name']} is no longer at {row['path']}; put it back there, or remove it from the gallery"
        ) from error


def open_gallery(place: str | Path, fingerprint: str, dim_latents: int) -> Gallery:
    """A gallery, begun where there is none. place: a folder, `s3://bucket/folder`, or MEMORY.
    fingerprint: which weights make the latents, of dim_latents numbers each.

    Raises GalleryError where the place cannot be read or written, and where the gallery is of other
    weights, whose latents mean something else.
    """
    place = str(place)
    database = connect(place)
    with explained(place):
        if others := other_tables(database, fingerprint):
            raise GalleryError(
                f"the gallery in {place} was made by other weights ({others[0].removeprefix(NAME)}) than "
                f"these ({fingerprint}); make it anew from its pictures with "
                f"`{COMMAND} gallery rebuild --gallery {place}`"
            )
        return Gallery(place, fingerprint, begin(database, fingerprint, dim_latents))


def connect(place: str):
    """The database in a place; nothing is written yet."""
    # hybrid search warns, at each call, of columns that lancedb itself asks for
    os.environ.setdefault("LANCEDB_LOG", "error")
    import lancedb  # takes over a second, and starts a thread

    session = lancedb.Session(INDEX_CACHE_BYTES, METADATA_CACHE_BYTES)
    with explained(place, ValueError):  # of a bucket that is not there, among others
        return lancedb.connect(place, session=session)


def other_tables(database, fingerprint: str) -> list[str]:
    """Names of tables there that other weights made."""
    names = database.list_tables().tables
    return [name for name in names if name.startswith(NAME) and name != NAME + fingerprint]


def begin(database, fingerprint: str, dim_latents: int) -> Table:
    """The table of these weights, with its indices, made where there is none."""
    table = database.create_table(NAME + fingerprint, schema=schema(dim_latents), exist_ok=True)
    index.prepare(table)
    return table


@contextmanager
def explained(place: str, *others: type[Exception]) -> Iterator[None]:
    """What LanceDB raises becomes a GalleryError. others: kinds of errors that it raises here too."""
    try:
        yield
    except (OSError, RuntimeError, *others) as error:
        reason = str(error).partition("\n")[0].partition(", /")[0][:200]  # the rest is of its source
        raise GalleryError(
            f"the gallery in {place} cannot be read or written ({reason}); see that the place is there, is "
            "writable and holds a gallery, or name another with PALM_DEMO_GALLERY or --gallery"
        ) from error


def _one_of(ids: Sequence[str]):
    from lancedb.expr import col, lit

    return col("id").isin([lit(str(id)) for id in ids])
