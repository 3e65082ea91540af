"""LanceDB: how a gallery connects to it, writes to it and retries, and what its errors mean.

Some of this is not in LanceDB's documentation. `tests/gallery/test_lance.py` tests each of these
facts, so that a release that changes one of them fails there.
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
from palm_demo.gallery.rows import ID_CHARACTERS, KEY, KEY_MARK

if TYPE_CHECKING:
    from lancedb.db import DBConnection
    from lancedb.table import Table

T = TypeVar("T")

MEMORY = "memory://"
"""The place of a gallery that ends with the process and leaves nothing behind."""
INDEX_CACHE_BYTES, METADATA_CACHE_BYTES = 400_000_000, 100_000_000
"""How much of what it has read a process caches. The index of a million pictures fits. LanceDB's own
limits, 6 GiB and 1 GiB, would fill up as a gallery is written to, because removed versions stay
cached."""

LOST_RACE = ("retryable commit conflict", "incompatible transaction", "too many concurrent writers")
"""Messages that mean: another writer was quicker, and nothing was written. The second one comes when two
mark the key at once."""
OUTDATED = ("not found", "no such file")
"""Messages that mean: the version that was read is gone, because another process has tidied. A removed
folder gives them too."""
NO_TABLE = "was not found"
"""What is said of a table without a commit."""
FULL = ("no space left", "disk quota", "file too large")
READ_ONLY = ("read-only file system", "permission denied")
ATTEMPTS, ATTEMPTS_TO_FIND = 8, 3
"""Attempts at operations that lose races, and at those whose files are gone. The waits of the former add
up to at most 2.5 seconds."""
FIRST_WAIT_SECONDS = 0.02


def local_folder(place: str) -> Path | None:
    """The folder of a gallery on this machine's disk; None for memory and buckets."""
    return None if "://" in place else Path(place)


def connect(place: str) -> DBConnection | None:
    """Opens the database in a place. Returns None where the folder is missing, which LanceDB would make."""
    folder = local_folder(place)
    if folder is not None and not os.path.isdir(folder):  # `Path.is_dir` would raise where a name is too long
        return None
    return _connect(place)


def connect_to_write(place: str) -> DBConnection:
    """Opens the database in a place, and makes its folder if it is missing.

    Raises GalleryError where it cannot be written, before anything is written.
    """
    folder = local_folder(place)
    if folder is not None:
        with explained(place, ValueError):  # of a name with a NUL
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
    """The names of all tables of a database."""
    names, page = [], None
    while True:
        listed = database.list_tables(page_token=page)
        names += listed.tables
        page = listed.page_token
        if not page:
            return names


def create(database: DBConnection, name: str, schema: pa.Schema, rows: pa.Table | None = None) -> Table:
    """Creates a table with its first rows in one commit, or opens it if it exists.

    A table that exists may have the schema of an earlier version of this package. One that another
    process is just creating, or was killed while creating, has a folder and a name, but is not found.
    """
    if name in table_names(database):
        try:
            return database.open_table(name)
        except ValueError as error:
            if not _says(error, NO_TABLE):
                raise
    return database.create_table(name, rows, schema=schema, exist_ok=True)


def insert_new(table: Table, rows: pa.Table) -> int:
    """Writes the rows whose ids the table does not have. Returns how many these are.

    Two things keep two processes from writing one id twice. The id is marked as the key, so a commit
    names the ids that it adds, and fails if another commit has just added one of them. And the merge
    does not use the index of ids, because with the index it would name none.
    """
    if not keyed(table):
        table.set_unenforced_primary_key(KEY)
    merge = table.merge_insert(KEY).when_not_matched_insert_all().use_index(False)
    return merge.execute(rows).num_inserted_rows


def keyed(table: Table) -> bool:
    """Whether ids are marked as the key. Tables of earlier versions of this package have no mark."""
    marks = table.schema.field(KEY).metadata or {}
    return any(mark.startswith(KEY_MARK) for mark in marks)


def retry(place: str, table: Table, operation: Callable[[Table], T]) -> T:
    """Runs an operation on the newest version of a table and returns its result.

    It is tried again if another writer was quicker, or has removed the files that were being read.
    Raises GalleryError if it fails for another reason, or every time.
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
    """Turns LanceDB's errors into a GalleryError. `others`: further kinds of errors to turn."""
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
    text = str(error).lower()
    return any(word in text for word in words)


def one_of(ids: Sequence[str]):
    """A filter for the rows with these ids. No id can break out of it, and none that is too long for one
    is looked for."""
    from lancedb.expr import col, lit

    return col(KEY).isin([lit(id) for id in map(str, ids) if len(id) <= ID_CHARACTERS])
