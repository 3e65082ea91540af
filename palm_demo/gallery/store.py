"""A gallery: one LanceDB table of pictures, in a folder, in memory or on S3."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pyarrow as pa

from palm_demo.errors import GalleryError
from palm_demo.gallery import index
from palm_demo.gallery.lance import MEMORY, explained, insert_new, local_folder, one_of, retry
from palm_demo.gallery.pictures import original_of
from palm_demo.gallery.rows import (
    EVERYTHING,
    SHOWN,
    Filters,
    Hit,
    Item,
    Row,
    as_hits,
    as_item,
    as_table,
    embeddings_of,
)
from palm_demo.gallery.words import content_words, lifted, shares

if TYPE_CHECKING:
    from lancedb.table import Table

T = TypeVar("T")
Fit = Callable[[np.ndarray], np.ndarray]
"""Scores embeddings (n, d): (n,), 1 at best."""

logger = logging.getLogger(__name__)

CANDIDATES = 500
"""Pictures nearest to the words, and as many with the words in their captions, that are scored one by
one."""
JUDGED = ["id", "caption", "embedding"]
LOOKED_AFTER = 8
"""Number of writes after which a gallery checks whether it needs tidying."""


class Gallery:
    """Pictures, their captions and their unit embeddings, searched by cosine.

    Every write happens completely or not at all, and other processes see it at once. Many threads and
    processes may use one gallery: a write that loses a race is repeated. Tidying happens in the
    background, and is put off when it fails, so it never makes a write fail.
    """

    def __init__(self, place: str, fingerprint: str, table: Table):
        """Wraps an open table. Use the functions of `palm_demo.gallery.opening` to open one."""
        self.place, self.fingerprint, self._table = place, fingerprint, table
        self._writes, self._tidying, self._inserting = 0, threading.Lock(), threading.Lock()

    @property
    def table(self) -> Table:
        """The newest version of the table."""
        return self._now(lambda table: table)

    def __len__(self) -> int:
        return self._now(lambda table: table.count_rows())

    @property
    def indexed(self) -> bool:
        """Whether the gallery is so large that its embeddings have an index."""
        return self._now(index.has_embedding_index)

    @property
    def embedding_dim(self) -> int:
        """The width of an embedding."""
        return self._table.schema.field("embedding").type.list_size

    def add(self, rows: Sequence[Row]) -> list[str]:
        """Writes the rows whose ids are not there yet, all at once. Returns these ids.

        Raises GalleryError when nothing was written.
        """
        if not rows:
            return []
        batch = as_table(rows, self._table.schema)
        try:
            with self._writing():
                count = self._now(lambda table: insert_new(table, batch))
        except GalleryError:
            # a commit whose answer got lost: what the table has decides, not the error
            if not (written := self._written(rows)):
                raise
            return written
        self._count_write()
        if count in (0, len(rows)):
            return [row.id for row in rows[:count]]
        return self._written(rows)

    def remove(self, ids: Sequence[str]) -> int:
        """Removes pictures. Returns how many of these ids there were."""
        if not ids:
            return 0
        removed = self._now(lambda table: table.delete(one_of(ids)).num_deleted_rows)
        self._count_write()
        return removed

    def tidy(self) -> None:
        """Merges small files, updates the indices and removes earlier versions.

        Does nothing if another process is tidying. Raises GalleryError where the place cannot be
        written.
        """
        with index.alone(self._folder) as alone:
            if not alone:
                return
            self._now(index.tidy)
            in_bucket = self._folder is None and self.place != MEMORY
            kept = index.KEPT_IN_BUCKETS if in_bucket else index.KEPT
            with self._writing():
                self._now(lambda table: index.remove_versions(table, kept))

    def tidy_when_due(self) -> None:
        """Starts tidying in the background if it is due and not under way.

        The process waits for it before it exits. If it fails, the next time tries again.
        """
        if self._tidying.acquire(blocking=False):
            try:
                threading.Thread(target=self._tidy_quietly, name="tidying").start()
            except RuntimeError:  # the process has as many threads as it may have, or is ending
                self._tidying.release()

    def wait(self) -> None:
        """Waits until no tidying of this gallery runs in the background."""
        with self._tidying:
            return

    def _tidy_quietly(self) -> None:
        try:
            if self._now(lambda table: index.untidy(table, self._files)):
                self.tidy()
        except Exception as error:  # nobody waits for this: what is not done now is done another time
            logger.info("tidying was put off (%s)", type(error).__name__)
        finally:
            self._tidying.release()

    def _count_write(self) -> None:
        self._writes += 1
        if self._writes % LOOKED_AFTER == 0:
            self.tidy_when_due()

    def nearest(self, embedding: np.ndarray, k: int, filters: Filters = EVERYTHING) -> list[Hit]:
        """The k pictures nearest to a unit embedding (d,), best first; all pictures if there are fewer."""

        def find(table: Table) -> pa.Table:
            query = table.search(embedding, "embedding", "vector")
            query = query.distance_type("cosine").nprobes(index.PROBES)
            return _found(query, index.REFINED * k, filters, [*SHOWN, "embedding"], "_distance")

        # LanceDB's own refining reads the embeddings once more, which takes a good part of a search
        return sorted(as_hits(self._now(find), embedding), key=lambda hit: -hit.score)[:k]

    def find(
        self,
        embedding: np.ndarray,
        k: int,
        filters: Filters = EVERYTHING,
        *,
        words: str = "",
        fit: Fit | None = None,
        least: float = -1.0,
    ) -> list[Hit]:
        """The k best pictures, best first, among those near a unit embedding and those with the words in
        their captions.

        Args:
            embedding: (d,).
            k, filters: as in `nearest`.
            words: words that captions may have; `lifted` raises the scores of pictures whose captions
                have them.
            fit: embeddings (n, d) -> scores (n,) of at most 1; cosines if not given.
            least: a picture is `alike` from this score on, before words raise it, or if its caption
                has all words.
        """
        from lancedb.query import MatchQuery

        wanted, some = content_words(words), max(CANDIDATES, index.REFINED * k)

        def candidates(table: Table) -> pa.Table:
            query = table.search(embedding, "embedding", "vector")
            near = _found(
                query.distance_type("cosine").nprobes(index.PROBES), some, filters, JUDGED, "_distance"
            )
            if not wanted:
                return near.select(JUDGED)
            query = table.search(MatchQuery(" ".join(sorted(wanted)), "caption"), query_type="fts")
            with_words = _found(query, some, filters, JUDGED, "_score")
            return pa.concat_tables([near.select(JUDGED), with_words.select(JUDGED)])

        found = self._now(candidates)
        if not len(found):
            return []
        embeddings = embeddings_of(found, len(embedding))
        fits = embeddings @ embedding if fit is None else fit(embeddings)
        ids, in_captions = found["id"].to_pylist(), shares(wanted, found["caption"].to_pylist())
        scores, alike = lifted(fits, in_captions), (fits >= least) | (in_captions == 1)
        best: dict[str, int] = {}
        for place in np.argsort(-scores, kind="stable"):
            best.setdefault(ids[place], place)
        best = dict(islice(best.items(), k))
        rows = {row["id"]: row for row in self._rows([*best], SHOWN).to_pylist()}
        return [
            Hit(**rows[id], score=float(scores[place]), alike=bool(alike[place]))
            for id, place in best.items()
            if id in rows
        ]

    def sample(self, count: int, seed: int | None = None) -> list[Item]:
        """Random pictures of the gallery; all of them if there are no more than `count`."""

        def some(table: Table) -> list[dict]:
            there = table.count_rows()
            places = random.Random(seed).sample(range(there), min(count, there))
            return table.take_offsets(places).select(SHOWN).to_arrow().to_pylist() if places else []

        return [as_item(row) for row in self._now(some)]

    def items(self, ids: Sequence[str]) -> list[Item]:
        """Pictures by their ids, in that order; those that are there."""
        rows = {row["id"]: as_item(row) for row in self._rows(ids, SHOWN).to_pylist()} if ids else {}
        return [rows[id] for id in ids if id in rows]

    def original(self, id: str) -> bytes:
        """The picture file. Raises GalleryError for an unknown id and for a file that is gone."""
        for row in self._rows([id], ["id", "name", "path", "original"]).to_pylist():
            return original_of(row)
        raise GalleryError(f"there is no picture {id!r:.40} in the gallery; it may have been removed")

    def names(self, ids: Sequence[str]) -> dict[str, str]:
        """The names of those pictures that are there, by id."""
        if not ids:
            return {}
        found = self._rows(ids, ["id", "name"])
        return dict(zip(found["id"].to_pylist(), found["name"].to_pylist(), strict=True))

    def embeddings(self, ids: Sequence[str]) -> dict[str, np.ndarray]:
        """The unit embeddings (d,) of those pictures that are there, by id."""
        if not ids:
            return {}
        found = self._rows(ids, ["id", "embedding"]).to_pylist()
        return {row["id"]: np.array(row["embedding"], np.float32) for row in found}

    def read_columns(self, columns: Sequence[str]) -> pa.Table:
        """Some columns of all rows at once. Use it for small columns."""
        return self._now(lambda table: table.search().select(list(columns)).to_arrow())

    def batches(
        self, columns: Sequence[str], size: int = 256, ids: Sequence[str] | None = None
    ) -> Iterator[pa.Table]:
        """Yields some columns of all rows, or of those with some ids, in parts.

        Which rows is decided at the start. Those that are removed meanwhile are left out.
        """
        ids = self.read_columns(["id"])["id"].to_pylist() if ids is None else ids
        for start in range(0, len(ids), size):
            part = self._rows(ids[start : start + size], columns)
            if len(part):
                yield part

    def _rows(self, ids: Sequence[str], columns: Sequence[str]) -> pa.Table:
        wanted = one_of(ids)
        return self._now(lambda table: table.search().where(wanted).select([*columns]).to_arrow())

    def _written(self, rows: Sequence[Row]) -> list[str]:
        """Ids of the rows that are in the table as this call wrote them, not as another writer did."""
        found = self._rows([row.id for row in rows], ["id", "name", "added"]).to_pylist()
        there = {(row["id"], row["name"], row["added"]) for row in found}
        return [row.id for row in rows if (row.id, row.name, row.added) in there]

    def _now(self, operation: Callable[[Table], T]) -> T:
        """The result of an operation on the newest version of the table."""
        return retry(self.place, self._table, operation)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Keeps other threads and processes from inserting or removing versions meanwhile."""
        with self._inserting, explained(self.place), index.writing(self._folder):
            yield

    @property
    def _folder(self) -> Path | None:
        """The gallery's folder; None in memory and on S3."""
        return local_folder(self.place)

    @property
    def _files(self) -> Path | None:
        """The folder of the table's files within it."""
        return None if self._folder is None else self._folder / f"{self._table.name}.lance"


def _found(query, count: int, filters: Filters, columns: Sequence[str], ranked: str) -> pa.Table:
    """The first rows of a query's result. `ranked`: the column it is ordered by, which must be selected."""
    wanted = filters.expression()
    query = query if wanted is None else query.where(wanted)
    return query.select([*columns, ranked]).limit(count).to_arrow()
