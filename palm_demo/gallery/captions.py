"""Captions that lie beside pictures, as the datasets library's ImageFolder has them: a table called
`metadata` with the columns `file_name` and `caption` (or `text`); or a text file beside each picture."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO, StringIO
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.parquet

from palm_demo.errors import GalleryError
from palm_demo.gallery.sources import Source

COLUMNS = ("caption", "text")
LONGEST = 1000
"""Characters of a caption; the rest is cut off."""


def captions_beside(files: Sequence[Source]) -> dict[str, str]:
    """Name of a picture -> its caption, of those that have one.

    Raises GalleryError for a table of captions that cannot be read.
    """
    found = {}
    texts = {file.name: file for file in files if file.name.endswith(".txt")}
    for file in files:
        path = PurePosixPath(file.name)
        if path.stem == "metadata" and path.suffix in READERS:
            found |= _of_table(file)
        elif (beside := str(path.with_suffix(".txt"))) in texts and beside != file.name:
            found[file.name] = texts[beside].read().decode("utf-8", "replace")
    return {name: text.strip()[:LONGEST] for name, text in found.items() if text and text.strip()}


def _of_table(file: Source) -> dict[str, str]:
    """Names in a table are relative to where it lies."""
    path = PurePosixPath(file.name)
    try:
        rows = list(READERS[path.suffix](file.read()))
        column = next((name for name in COLUMNS if rows and name in rows[0]), None)
        if rows and (column is None or "file_name" not in rows[0]):
            raise GalleryError(
                f"{file.name} has the columns {', '.join(map(str, rows[0]))}; a table of captions has "
                "file_name and caption"
            )
        return {str(path.parent / row["file_name"]): row[column] for row in rows if row.get(column)}
    except (ValueError, TypeError, AttributeError, pa.ArrowException, csv.Error) as error:
        if isinstance(error, GalleryError):
            raise
        raise GalleryError(f"{file.name} cannot be read as captions ({error}); mend or remove it") from error


def _csv(data: bytes) -> Iterable[Mapping]:
    return csv.DictReader(StringIO(data.decode("utf-8-sig")))


def _json_lines(data: bytes) -> Iterable[Mapping]:
    return (json.loads(line) for line in data.decode("utf-8").splitlines() if line.strip())


def _parquet(data: bytes) -> Iterable[Mapping]:
    file = pa.parquet.ParquetFile(BytesIO(data))
    columns = [name for name in file.schema_arrow.names if name in ("file_name", *COLUMNS)]
    return file.read(columns).to_pylist()


READERS = {".csv": _csv, ".jsonl": _json_lines, ".parquet": _parquet}
