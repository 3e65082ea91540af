"""A gallery's indices (full text and ids from the start, embeddings later), and when its table is tidied."""

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
"""Number of pictures from which on embeddings have an index. With fewer, a search compares all of them."""
RETRAINED_AT = 4
"""The index is trained again when the gallery has grown to this many times what it was trained on."""
PART = 2048
"""Pictures in one partition of the index. Of a million pictures, PROBES partitions are 4.5%."""
SAMPLED, ROUNDS = 64, 10
"""Pictures per partition that k-means learns from, and its iterations: a twentieth of the work of
LanceDB's own 256 and 50."""
PROBES, REFINED = 22, 2
"""How many partitions a search looks into, and how many times k candidates it then compares exactly."""

FEW, MANY = 16, 256
"""Small files of a table: with fewer than the first it is left as it is, from the second on it is always
tidied, because a search opens every file."""
WASTE = 10_000_000
"""Bytes of earlier versions that may lie beside a small table before it is tidied."""
KEPT, KEPT_IN_BUCKETS = timedelta(milliseconds=200), timedelta(minutes=10)
"""How long earlier versions stay, on a disk and in a bucket.

A reader whose version goes looks again. A write is checked against the versions since it began, so
none may go while a write is under way: on a disk a lock ensures that; in a bucket there is no lock,
and versions stay longer than any write takes.
"""
EMBEDDINGS = "embeddings_of_"
"""Beginning of the name of the embeddings' index. The number of embeddings it was trained on follows."""
LOCK, WRITING = ".tidying", ".writing"
PATIENCE_SECONDS = 60
"""How long to wait for another process that writes or removes versions."""


def prepare(table: Table) -> None:
    """Makes the indices that every table has."""
    from lancedb.index import FTS, BTree

    there = {column for index in table.list_indices() for column in index.columns}
    if "caption" not in there:
        table.create_index("caption", config=FTS())
    if "id" not in there:
        table.create_index("id", config=BTree())


def untidy(table: Table, folder: Path | None) -> bool:
    """Whether it is time to tidy the table.

    Tidying writes the whole table again, which takes its size on the disk once more for a while. So it
    waits until as much has come as was there before; everything together then takes at most three
    times its bytes. `folder`: where the table's files lie, if on this disk.
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
    """Merges small files, brings new rows into the indices, and trains the embeddings' index when it is
    due."""
    from lancedb.index import IvfSq

    count, trained_on = table.count_rows(), _trained_on(table)
    if count >= INDEXED_FROM and count >= RETRAINED_AT * trained_on:
        config = IvfSq("cosine", target_partition_size=PART, sample_rate=SAMPLED, max_iterations=ROUNDS)
        table.create_index("embedding", config=config, name=f"{EMBEDDINGS}{count}", replace=True)
        for index in table.list_indices():
            if index.columns == ["embedding"] and index.name != f"{EMBEDDINGS}{count}":
                table.drop_index(index.name)
    table.optimize()


def remove_versions(table: Table, kept: timedelta) -> None:
    """Removes versions of the table that are older than `kept`.

    Do not call it while anybody inserts: an insertion is checked against these versions.
    """
    table.optimize(cleanup_older_than=kept)


@contextmanager
def writing(folder: Path | None) -> Iterator[None]:
    """Keeps other processes from inserting into the gallery in a folder or removing its versions
    meanwhile.

    Raises OSError if another process holds the lock for too long.
    """
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
    """Yields whether this process alone tidies the gallery in a folder, and keeps others from it
    meanwhile.

    Two that tidy at once would each write the whole table, and the slower one's files would stay on
    the disk for a week.
    """
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
    """Whether the table's embeddings have an index."""
    return _trained_on(table) > 0


def _trained_on(table: Table) -> int:
    names = [index.name for index in table.list_indices() if index.name.startswith(EMBEDDINGS)]
    return max((int(name.removeprefix(EMBEDDINGS)) for name in names), default=0)


def _size(folder: Path) -> int:
    """Bytes of all files in a folder. Files that disappear meanwhile count as none."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size
        except OSError:
            continue
    return total
