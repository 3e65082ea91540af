"""LanceDB, as far as a gallery relies on more than its documented calls: where tables lie, what its errors
say, when a write is worth another try. `tests/gallery/test_lance.py` holds each of these facts, so that a
release that changes one of them says so there.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa

from palm_demo.errors import GalleryError
from palm_demo.gallery.rows import KEY, KEY_MARK

if TYPE_CHECKING:
    from lancedb.db import DBConnection
    from lancedb.table import Table

T = TypeVar("T")

MEMORY = "memory://"
"""A gallery that ends with the process, and leaves nothing behind."""
INDEX_CACHE_BYTES, METADATA_CACHE_BYTES = 400_000_000, 100_000_000
"""What a process keeps of what it has read; the index of a million pictures fits. LanceDB's own limits, 6 GiB
and 1 GiB, fill up as a gallery is written to, since versions that are gone stay too."""

LOST_RACE = ("retryable commit conflict", "incompatible transaction", "too many concurrent writers")
"""Another writer was quicker, and nothing was written. The second is of two that mark the key at once."""
OUTDATED = ("not found", "no such file")
"""The version that was read is gone: another process has tidied since. A folder that is gone says so too."""
FULL = ("no space left", "disk quota", "file too large")
READ_ONLY = ("read-only file system", "permission denied")
ATTEMPTS, ATTEMPTS_TO_FIND = 8, 3
"""Of operations that lose races, and of those whose files are gone. The waits between the former add up to
2.5 seconds at most."""
FIRST_WAIT_SECONDS = 0.02


def local_folder(place: str) -> Path | None:
    """The folder of a gallery on this machine's disk; None for memory and buckets."""
    return None if "://" in place else Path(place)


def connect(place: str) -> DBConnection | None:
    """The database in a place; None where a folder is not there, which LanceDB would make."""
    folder = local_folder(place)
    if folder is not None and not folder.is_dir():
        return None
    return _connect(place)


def connect_to_write(place: str) -> DBConnection:
    """The database in a place, whose folder is made where there is none.

    Raises GalleryError where it cannot be written, before anything is.
    """
    folder = local_folder(place)
    if folder is not None:
        with explained(place):
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError("permission denied")
    return _connect(place)


def _connect(place: str) -> DBConnection:
    # Rust code logs each search's columns and each lost race as a warning
    os.environ.setdefault("LANCEDB_LOG", "error")
    import lancedb  # takes over a second, and starts a thread

    session = lancedb.Session(INDEX_CACHE_BYTES, METADATA_CACHE_BYTES)
    with explained(place, ValueError):  # of a bucket that is not there, among others
        return lancedb.connect(place, session=session)


def table_names(database: DBConnection) -> list[str]:
    """All of them, from however many pages."""
    names, page = [], None
    while True:
        listed = database.list_tables(page_token=page)
        names += listed.tables
        page = listed.page_token
        if not page:
            return names


def create(database: DBConnection, name: str, schema: pa.Schema, rows: pa.Table | None = None) -> Table:
    """A table with its first rows, in one commit; the table as it is where there is one already, whose schema
    may be of an earlier version of this package."""
    if name in table_names(database):
        return database.open_table(name)
    return database.create_table(name, rows, schema=schema, exist_ok=True)


def insert_new(table: Table, rows: pa.Table) -> int:
    """Writes the rows whose id the table does not have; how many these are.

    Two facts keep two processes from writing one id twice: the id is marked as the key, so that a commit
    names the ids that it brings and fails where another has just brought one of them; and the index of ids
    is left alone, with which a merge names none.
    """
    if not keyed(table):
        table.set_unenforced_primary_key(KEY)
    merge = table.merge_insert(KEY).when_not_matched_insert_all().use_index(False)
    return merge.execute(rows).num_inserted_rows


def keyed(table: Table) -> bool:
    """Whether ids are marked as the key; tables of earlier versions of this package have no mark."""
    marks = table.schema.field(KEY).metadata or {}
    return any(mark.startswith(KEY_MARK) for mark in marks)


def steadily(place: str, table: Table, operation: Callable[[Table], T]) -> T:
    """What an operation gives on the newest version of a table, whoever wrote to it last; tried again where
    another writer was quicker or has let go of the files that were being read.

    Raises GalleryError where it fails for another reason, or each time.
    """
    with explained(place):
        for attempt in range(ATTEMPTS):
            try:
                # one look per operation: LanceDB's own `read_consistency_interval=0` looks several times
                table.checkout_latest()
                return operation(table)
            except (OSError, RuntimeError) as error:
                outdated = attempt < ATTEMPTS_TO_FIND - 1 and _says(error, *OUTDATED)
                if attempt == ATTEMPTS - 1 or not (outdated or _says(error, *LOST_RACE)):
                    raise
            time.sleep(random.uniform(0.5, 1) * FIRST_WAIT_SECONDS * 2**attempt)
        raise AssertionError("the last attempt returns or raises")


@contextmanager
def explained(place: str, *others: type[Exception]) -> Iterator[None]:
    """What LanceDB raises becomes a GalleryError. others: kinds of errors that it raises here too."""
    try:
        yield
    except (OSError, RuntimeError, *others) as error:
        reason = str(error).partition("\n")[0].partition(", /")[0][:200]  # the rest is of its source
        raise GalleryError(
            f"the gallery in {place} cannot be read or written ({reason}); {_remedy(error)}"
        ) from error


def _remedy(error: Exception) -> str:
    if _says(error, *FULL):
        return "there is no space left where it lies: free some, and do it again; what was added before stays"
    if _says(error, *LOST_RACE):
        return "others write to it all the time; do it again in a moment"
    if _says(error, *READ_ONLY):
        return "see that you may write there, or name another place with PALM_DEMO_GALLERY or --gallery"
    return (
        "see that the place is there, is writable and holds a gallery, or name another with "
        "PALM_DEMO_GALLERY or --gallery"
    )


def _says(error: Exception, *words: str) -> bool:
    told = str(error).lower()
    return any(word in told for word in words)


def one_of(ids: Sequence[str]):
    """The rows of these ids, as a filter that no id can break out of."""
    from lancedb.expr import col, lit

    return col(KEY).isin([lit(str(id)) for id in ids])
