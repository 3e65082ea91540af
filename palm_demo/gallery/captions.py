"""Reads captions that lie beside pictures, laid out as for the datasets library's ImageFolder.

They are in a table called `metadata` with the columns `file_name` and `caption` (or `text`), or in a
text file beside each picture.
"""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO, StringIO
from numbers import Number
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.parquet

from palm_demo.errors import MediaError
from palm_demo.gallery.report import Report, shown, why
from palm_demo.gallery.sources import Source

COLUMNS = ("caption", "text")
LONGEST = 1000
"""The most characters of a caption; the rest is cut off."""
TEXT_BYTES = 16 * LONGEST
"""Bytes that are read of a text file beside a picture. White space may precede the caption."""
TABLE_BYTES = 1_000_000_000
"""The most bytes of a Parquet table in memory, apart from its pictures."""
ROWS_LISTED = 20
"""How many wrong rows of one table the report lists singly."""


def captions_beside(files: Sequence[Source], report: Report | None = None) -> dict[str, str]:
    """Finds the captions that lie beside pictures: picture name -> caption.

    If a picture has several, the text file beside it comes first, then the table in the nearest
    folder, and of two tables in one folder the one whose name comes first (metadata.csv, .jsonl,
    .parquet).

    A table or row that cannot be read goes into the report with the reason. Pictures without a caption
    are not in the result.
    """
    report = Report() if report is None else report
    found: dict[str, str] = {}
    for table in sorted((file for file in files if _is_table(file)), key=_nearest_last):
        try:
            found |= _of_table(table, report)
        except Exception as error:  # whatever kind it is, it is reported
            reason = why(table.name, error)
            report.unreadable.append(
                (shown(table.name), f"{reason}; its pictures get captions of the model's")
            )
    texts = {file.name: file for file in files if file.name.endswith(".txt")}
    for file in files:
        beside = str(PurePosixPath(file.name).with_suffix(".txt")) if _has_name(file) else ""
        if beside in texts and beside != file.name:
            try:
                found[file.name] = _decoded(texts[beside].read(TEXT_BYTES), cut=True)
            except Exception as error:
                report.leave_out(beside, error)
    stripped = {name: shown(text.strip())[:LONGEST] for name, text in found.items()}
    return {name: text for name, text in stripped.items() if text}


def _has_name(file: Source) -> bool:
    return PurePosixPath(file.name).name not in ("", ".", "..")


def _is_table(file: Source) -> bool:
    path = PurePosixPath(file.name)
    return path.stem == "metadata" and path.suffix in READERS


def _nearest_last(file: Source) -> tuple[int, list[int]]:
    """Sort key that puts the tables to prefer last, where they override those before."""
    return len(PurePosixPath(file.name).parts), [-ord(letter) for letter in file.name]


def _of_table(file: Source, report: Report) -> dict[str, str]:
    """The captions of a table, whose file names are relative to its folder.

    Raises MediaError for a table without the columns.
    """
    path = PurePosixPath(file.name)
    found, wrong = {}, []
    column = None
    for number, row in enumerate(READERS[path.suffix](file.read()), 1):
        if isinstance(row, Mapping):
            column = column or next((name for name in COLUMNS if name in row), None)
            if number == 1 and (column is None or "file_name" not in row):
                raise MediaError(
                    f"{shown(file.name)} has the columns {shown(', '.join(map(str, row)))}; a table of "
                    "captions has file_name and caption"
                )
        try:
            name, caption = _of_row(row, column)
        except ValueError as error:
            wrong.append((number, error))
            continue
        if caption:
            found[str(path.parent / name)] = caption
    for number, error in wrong[:ROWS_LISTED]:
        report.unreadable.append((shown(file.name), f"row {number} {error}"))
    if len(wrong) > ROWS_LISTED:
        report.unreadable.append((shown(file.name), f"{len(wrong) - ROWS_LISTED} more rows are wrong"))
    return found


def _of_row(row: object, column: str | None) -> tuple[str, str]:
    """File name and caption of a row. Raises ValueError, with what to report about the row, if one is
    missing."""
    if isinstance(row, ValueError):
        raise ValueError(f"cannot be read ({row}); mend it")
    if not isinstance(row, Mapping):
        raise ValueError(f"is {row!r:.40} and no row; write file_name and caption")
    name, caption = row.get("file_name"), row.get(column)
    if not isinstance(name, str) or not name.strip():
        raise ValueError("has no file_name; write which picture it is about")
    if caption is None:
        return name, ""
    if isinstance(caption, Number) and not isinstance(caption, bool):
        caption = str(caption)
    if not isinstance(caption, str):
        raise ValueError(f"has the caption {caption!r:.40}, which is not a text; write one in quotes")
    return name, caption


def _csv(data: bytes) -> Iterator[object]:
    """Yields the rows of a CSV file. A row that cannot be read comes as a ValueError."""
    rows = csv.DictReader(StringIO(_decoded(data), newline=""))
    while True:
        try:
            yield next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield ValueError(str(error))


def _json_lines(data: bytes) -> Iterator[object]:
    """Yields the rows of a JSON Lines file. A line that is not JSON comes as a ValueError."""
    for line in _decoded(data).split("\n"):
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError) as error:
                yield ValueError(str(error) or type(error).__name__)


def _parquet(data: bytes) -> Iterator[Mapping]:
    file = pa.parquet.ParquetFile(BytesIO(data))
    columns = [name for name in file.schema_arrow.names if name in ("file_name", *COLUMNS)]
    places = [at for at, name in enumerate(file.schema.names) if name in columns]
    groups = [file.metadata.row_group(group) for group in range(file.metadata.num_row_groups)]
    size = sum(group.column(at).total_uncompressed_size for group in groups for at in places)
    if size > TABLE_BYTES:
        raise MediaError(f"the table has {size:,} bytes of text; at most {TABLE_BYTES:,} are read, split it")
    if not columns:
        yield dict.fromkeys(file.schema_arrow.names)
    for batch in file.iter_batches(columns=columns):
        yield from batch.to_pylist()


def _decoded(data: bytes, cut: bool = False) -> str:
    """Decodes text as UTF-8, as UTF-16 if it has a byte order mark, or else as Windows-1252.

    `cut`: the data may end in the middle of a character.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace")
    try:
        return codecs.getincrementaldecoder("utf-8-sig")().decode(data, final=not cut)
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


READERS = {".csv": _csv, ".jsonl": _json_lines, ".parquet": _parquet}
