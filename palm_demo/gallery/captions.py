"""Captions that lie beside pictures, as the datasets library's ImageFolder has them: a table called
`metadata` with the columns `file_name` and `caption` (or `text`); or a text file beside each picture."""

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
"""Characters of a caption; the rest is cut off."""
TEXT_BYTES = 16 * LONGEST
"""How many are read of a text file beside a picture: white space before the caption may take some."""
TABLE_BYTES = 1_000_000_000
"""Of a Parquet table as it stands in memory, its pictures aside."""
ROWS_TOLD = 20
"""Rows of one table that are wrong and stand in the report, each by itself."""


def captions_beside(files: Sequence[Source], report: Report | None = None) -> dict[str, str]:
    """Name of a picture -> its caption, of those that have one.

    Where several are given, the text file beside the picture counts; then the table in the nearest folder;
    of two in one folder that whose name comes first (metadata.csv, .jsonl, .parquet).

    What cannot be read, a table or a row of it, stands in the report with the reason; pictures without a
    caption are left to be described.
    """
    report = Report() if report is None else report
    found: dict[str, str] = {}
    for table in sorted((file for file in files if _is_table(file)), key=_nearest_last):
        try:
            found |= _of_table(table, report)
        except Exception as error:  # whatever kind it is, it is told
            said = why(table.name, error)
            report.unreadable.append((shown(table.name), f"{said}; its pictures get captions of the model's"))
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
    """What comes later in this order takes the place of what came before."""
    return len(PurePosixPath(file.name).parts), [-ord(letter) for letter in file.name]


def _of_table(file: Source, report: Report) -> dict[str, str]:
    """Names in a table are relative to where it lies. Raises MediaError for a table without the columns."""
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
    for number, error in wrong[:ROWS_TOLD]:
        report.unreadable.append((shown(file.name), f"row {number} {error}"))
    if len(wrong) > ROWS_TOLD:
        report.unreadable.append((shown(file.name), f"{len(wrong) - ROWS_TOLD} more rows are wrong"))
    return found


def _of_row(row: object, column: str | None) -> tuple[str, str]:
    """File name and caption. Raises ValueError, with what is to be said of the row, where one is missing."""
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
        raise ValueError(f"has the caption {caption!r:.40}, which is no text; write one in quotes")
    return name, caption


def _csv(data: bytes) -> Iterator[object]:
    """A row that cannot be read comes as the error."""
    rows = csv.DictReader(StringIO(_decoded(data), newline=""))
    while True:
        try:
            yield next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield ValueError(str(error))


def _json_lines(data: bytes) -> Iterator[object]:
    """A line that is no JSON comes as the error."""
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
    """A text in UTF-8, or in UTF-16 where it says so at its beginning, or else as Windows writes it in the
    West. cut: the end may be missing, in the middle of a letter."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace")
    try:
        return codecs.getincrementaldecoder("utf-8-sig")().decode(data, final=not cut)
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


READERS = {".csv": _csv, ".jsonl": _json_lines, ".parquet": _parquet}
