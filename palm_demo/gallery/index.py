"""Indices of a gallery (full text and ids from the start, embeddings later), and when it is tidied."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from lancedb.table import Table

INDEXED_FROM = 20_000
"""Pictures from which on embeddings get an index; below, all of them are compared."""
RETRAINED_AT = 4
"""The index is trained anew when the gallery has grown to so many times what it was trained on."""
PART = 2048
"""Pictures of a part of the index: of a million pictures, PROBES parts are three in a hundred."""
SAMPLED, ROUNDS = 64, 10
"""Pictures per part that k-means learns the parts from, and its rounds: a twentieth of the work of LanceDB's
own 256 and 50."""
PROBES, REFINED = 14, 2
"""Of the index's parts so many are looked into, and of what they offer so many times k compared exactly."""

FEW, MANY = 16, 256
"""Small files of a table: below the one it is left as it is, from the other on it is tidied anyway, since a
search opens them all."""
WASTE = 10_000_000
"""Bytes of earlier versions that lie beside a small table before it is tidied."""
KEPT, KEPT_IN_BUCKETS = timedelta(milliseconds=200), timedelta(minutes=10)
"""How long earlier versions stay. Whoever reads one that goes looks again. A write is checked against the
versions that came since it began, so none goes while a write is on its way: on a disk a lock sees to that,
in a bucket nobody tells, and they stay for longer than any write takes."""
EMBEDDINGS = "embeddings_of_"
"""The name of the embeddings' index ends with how many it was trained on."""
LOCK, WRITING = ".tidying", ".writing"
PATIENCE_SECONDS = 60
"""For another process that writes, or lets versions go."""


def prepare(table: Table) -> None:
    """The indices that a table has from the start."""
    from lancedb.index import FTS, BTree

    there = {column for index in table.list_indices() for column in index.columns}
    if "caption" not in there:
        table.create_index("caption", config=FTS())
    if "id" not in there:
        table.create_index("id", config=BTree())


def untidy(table: Table, folder: Path | None) -> bool:
    """Whether it is time to tidy: this writes the whole table anew, which takes its size on the disk once
    more for a moment. So it waits until what came since is as much as what was there: what is added
    takes at most three times its bytes while that goes on. folder: where the table's files lie on this disk.
    """
    stats = table.stats()
    files = stats["fragment_stats"]
    small, largest, rows = files["num_fragments"] - 1, files["lengths"]["max"], stats["num_rows"]
    if rows >= INDEXED_FROM and rows >= RETRAINED_AT * _trained_on(table):
        return True
    if small >= MANY or (small >= FEW and rows - largest >= largest):
        return True
    return folder is not None and _size(folder) > 2 * stats["total_bytes"] + WASTE


def tidy(table: Table) -> None:
    """Brings small files together and new rows into the indices, and trains the embeddings' index when it is
    time."""
    from lancedb.index import IvfSq

    count, trained_on = table.count_rows(), _trained_on(table)
    if count >= INDEXED_FROM and count >= RETRAINED_AT * trained_on:
        config = IvfSq("cosine", target_partition_size=PART, sample_rate=SAMPLED, max_iterations=ROUNDS)
        table.create_index("embedding", config=config, name=f"{EMBEDDINGS}{count}", replace=True)
        for index in table.list_indices():
            if index.columns == ["embedding"] and index.name != f"{EMBEDDINGS}{count}":
                table.drop_index(index.name)
    table.optimize()


def let_go(table: Table, kept: timedelta) -> None:
    """Removes versions that are older, with what was removed from the gallery. Not to be called while
    anybody inserts: the versions that go are what an insertion is checked against."""
    table.optimize(cleanup_older_than=kept)


@contextmanager
def writing(folder: Path | None) -> Iterator[None]:
    """Until the block ends, no other process inserts into the gallery of this folder or lets versions of it
    go. Raises OSError where another does not come to an end."""
    if folder is None:
        yield
        return
    try:
        lock = FileLock(folder / WRITING).acquire(timeout=PATIENCE_SECONDS)
    except Timeout as error:
        raise OSError("too many concurrent writers") from error
    with lock:
        yield


@contextmanager
def alone(folder: Path | None) -> Iterator[bool]:
    """Whether no other process tidies the gallery in this folder until the block ends. Two that tidy at once
    each write the whole table, and what the slower one wrote stays on the disk for a week."""
    if folder is None:
        yield True
        return
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def has_embedding_index(table: Table) -> bool:
    return _trained_on(table) > 0


def _trained_on(table: Table) -> int:
    names = [index.name for index in table.list_indices() if index.name.startswith(EMBEDDINGS)]
    return max((int(name.removeprefix(EMBEDDINGS)) for name in names), default=0)


def _size(folder: Path) -> int:
    """Bytes of all files in it; files that go meanwhile count as none."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size
        except OSError:
            continue
    return total
