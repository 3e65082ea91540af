"""Re-embeds a gallery after the weights have changed, and exports it as a folder or archive."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from palm_demo.errors import GalleryError, MediaError
from palm_demo.gallery.index import writing
from palm_demo.gallery.ingest import BATCH, Encoder
from palm_demo.gallery.lance import (
    connect,
    connect_to_write,
    create,
    explained,
    insert_new,
    local_folder,
    retry,
    table_names,
)
from palm_demo.gallery.opening import begin, no_gallery, other_tables
from palm_demo.gallery.pictures import DecodedImage, original_of, picture_of, why_of_original
from palm_demo.gallery.report import NOT_OF_ONE, Report, each, why
from palm_demo.gallery.rows import Row, schema
from palm_demo.gallery.store import Gallery
from palm_demo.media.kinds import HEAD_BYTES, kind_of

if TYPE_CHECKING:
    from lancedb.db import DBConnection

KEPT = [field.name for field in fields(Row) if field.name != "embedding"]
LEFT_OUT_TABLE = "left_out"
"""The table of pictures that could not be embedded again. They are in no gallery; each rebuild tries them
once more."""


def outdated(place: str, fingerprint: str) -> int:
    """How many pictures in a place have no embeddings of these weights. Nothing is written."""
    if (database := connect(place)) is None:
        return 0
    with explained(place, ValueError):
        return sum(database.open_table(name).count_rows() for name in _older_tables(database, fingerprint))


def rebuild(place: str, encoder: Encoder, report: Report | None = None) -> Iterator[int]:
    """Embeds every picture again, and yields the number of pictures of each batch.

    The new table grows beside the old one, which is dropped when all is done, so running it again
    continues a rebuild that was stopped. Let nothing else write to the gallery meanwhile.

    If a picture's file cannot be read, its thumbnail is embedded, and the report notes it. A picture
    that fails altogether is left out of the gallery and is in the report; the next rebuild tries it
    again. Raises GalleryError where the place cannot be read or written.
    """
    report = Report() if report is None else report
    if connect(place) is None:
        raise GalleryError(no_gallery(place))
    database = connect_to_write(place)
    with explained(place, ValueError):
        olds = _older_tables(database, encoder.fingerprint)
    if not olds:
        return
    new = begin(place, database, encoder.fingerprint, encoder.embedding_dim)
    there = set(new.read_columns(["id"])["id"].to_pylist())
    for name in olds:
        with explained(place, ValueError):
            old = Gallery(place, name, database.open_table(name))
        for part in old.batches(KEPT, BATCH):
            rows = [row for row in part.to_pylist() if row["id"] not in there]
            made, failed = _embedded_again(rows, encoder, report)
            new.add(made)
            if name == LEFT_OUT_TABLE:
                old.remove([row["id"] for row in part.to_pylist() if row["id"] not in failed])
            elif failed:
                _keep_aside(place, database, [row for row in rows if row["id"] in failed])
            yield len(part)
        old.wait()
        if name != LEFT_OUT_TABLE or not len(old):
            with explained(place, ValueError):
                database.drop_table(name)
    new.tidy()


def _older_tables(database: DBConnection, fingerprint: str) -> list[str]:
    names = table_names(database)
    return [name for name in names if name == LEFT_OUT_TABLE] + other_tables(names, fingerprint)


def _embedded_again(rows: list[dict], encoder: Encoder, report: Report) -> tuple[list[Row], set[str]]:
    """The rows with new embeddings, and the ids of those that failed."""
    pixels = [_pixels(row, encoder, report) for row in rows]
    seen = [(row, one) for row, one in zip(rows, pixels, strict=True) if isinstance(one, DecodedImage)]
    results = iter(each(lambda some: [*encoder.embed_images([one.image for _, one in some])], seen))
    made, failed = [], set()
    for row, one in zip(rows, pixels, strict=True):
        embedding = next(results) if isinstance(one, DecodedImage) else one
        if isinstance(embedding, np.ndarray) and np.isfinite(embedding).all():
            made.append(Row(**row, embedding=embedding))
        else:
            error = MediaError(f"{row['name']} has an embedding that is not finite; take other weights")
            report.leave_out(row["name"], embedding if isinstance(embedding, Exception) else error)
            failed.add(row["id"])
    return made, failed


def _pixels(row: dict, encoder: Encoder, report: Report) -> DecodedImage | Exception:
    """A row's picture, or why not even its thumbnail can be decoded."""
    try:
        pixels, why_not = picture_of(row, encoder.media_limits)
    except NOT_OF_ONE:
        raise
    except Exception as error:  # whatever kind it is, it is reported
        return error
    if why_not is not None:
        report.noted.append((row["name"], f"{why_not}: its thumbnail was taken"))
    return pixels


def _keep_aside(place: str, database: DBConnection, rows: list[dict]) -> None:
    form = pa.schema([field for field in schema(1) if field.name in KEPT])
    with explained(place, ValueError):
        table = create(database, LEFT_OUT_TABLE, form)
    batch = pa.Table.from_pylist(rows, form)
    with explained(place), writing(local_folder(place)):
        retry(place, table, lambda table: insert_new(table, batch))


TABLE, PICTURES = "metadata.parquet", "pictures"
"""Names that the datasets library's ImageFolder and `gallery add` read."""
LEFT_OUT_FILE = "left_out.txt"
COLUMNS = ["id", "name", "path", "original", "thumbnail", "caption", "added", "embedding"]
WRITTEN = ["file_name", "caption", "id", "name", "added", "embedding"]


def export(
    gallery: Gallery, folder: Path, ids: Sequence[str] | None = None, report: Report | None = None
) -> Iterator[int]:
    """Writes pictures and their table into an empty or new folder, and yields the number of each batch.

    The folder appears when all is written, never in part. If a picture's file is gone, its thumbnail
    is written, and the report notes it. A picture that fails altogether is left out and is in the
    report.

    Args:
        gallery: the gallery.
        folder: empty or not yet there.
        ids: of the pictures; None for all.
        report: what is noted about them.

    Raises GalleryError when the folder is not empty or cannot be written.
    """
    report = Report() if report is None else report
    with _write_errors(folder):
        empty = folder.exists()
        if empty and any(folder.iterdir()):
            raise GalleryError(f"{folder} is not empty; name a folder that is not there yet")
        # within a folder that is there: it may be all that can be written
        growing = (folder if empty else folder.absolute().parent) / f".{folder.name}-{uuid4().hex[:8]}"
        (growing / PICTURES).mkdir(parents=True)
    try:
        yield from _write(gallery, growing, folder, ids, report)
        with _write_errors(folder):
            if not empty:
                growing.rename(folder)
            else:
                for part in sorted(growing.iterdir(), reverse=True):
                    part.rename(folder / part.name)
    finally:
        shutil.rmtree(growing, ignore_errors=True)


def export_zip(gallery: Gallery, path: Path, ids: Sequence[str]) -> None:
    """Writes a ZIP archive of some pictures and their table. The file appears when it is complete.

    A text file in it lists the pictures that were left out, with the reasons. Raises GalleryError when
    the archive would hold no picture, or cannot be written.
    """
    growing, report = path.with_name(f"{path.name}.part"), Report()
    with TemporaryDirectory() as folder, _write_errors(path):
        there = gallery.names(ids)
        if not sum(export(gallery, Path(folder), ids, report)):
            reasons = "; ".join(why for _, why in report.unreadable)
            raise GalleryError(reasons or "none of these pictures is in the gallery any more; search again")
        lines = [f"{id} is not in the gallery any more" for id in ids if id not in there]
        lines += [f"{name}: {why}" for name, why in report.unreadable]
        if lines:
            Path(folder, LEFT_OUT_FILE).write_text("\n".join([*lines, ""]), encoding="utf-8")
        try:
            with zipfile.ZipFile(growing, "w") as archive:  # uncompressed: pictures hardly shrink
                for file in sorted(Path(folder).rglob("*")):
                    if file.is_file():
                        archive.write(file, file.relative_to(folder))
            growing.replace(path)
        finally:
            growing.unlink(missing_ok=True)


def _write(
    gallery: Gallery, growing: Path, folder: Path, ids: Sequence[str] | None, report: Report
) -> Iterator[int]:
    """Writes pictures and their table into `growing`. `folder`: the name for messages."""
    form = schema(gallery.embedding_dim)
    written = [pa.field("file_name", pa.string()), *(form.field(name) for name in WRITTEN[1:])]
    with _write_errors(folder), pa.parquet.ParquetWriter(growing / TABLE, pa.schema(written)) as writer:
        for part in gallery.batches(COLUMNS, ids=ids):
            names = [_write_picture(growing, row, report) for row in part.select(COLUMNS[:5]).to_pylist()]
            table = part.append_column(written[0], pa.array(names, pa.string())).select(WRITTEN)
            table = table.filter(table["file_name"].is_valid())
            writer.write_table(table.cast(writer.schema))
            yield len(table)


def _write_picture(growing: Path, row: dict, report: Report) -> str | None:
    """Writes a picture's file and returns its name in the folder, or None if it is left out.

    Raises OSError where it cannot be written.
    """
    try:
        data, suffix, why_not = _picture_file(row)
    except Exception as error:  # whatever kind it is, it is reported
        report.unreadable.append((row["name"], why(row["name"], error)))
        return None
    if why_not is not None:
        report.noted.append((row["name"], f"{why_not}: its thumbnail was taken"))
    name = f"{PICTURES}/{row['id']}.{suffix}"
    (growing / name).write_bytes(data)
    return name


def _picture_file(row: dict) -> tuple[bytes, str, str | None]:
    """A picture's file, its suffix, and why it is the thumbnail, if it is."""
    why_not = None
    try:
        data = original_of(row)
        return data, _suffix(data, row["name"]), None
    except Exception as error:
        why_not = why_of_original(row, error)
    return row["thumbnail"], _suffix(row["thumbnail"], row["name"]), why_not


def _suffix(data: bytes, name: str) -> str:
    kind = kind_of(data[:HEAD_BYTES])
    if kind is None or kind.moving:
        raise MediaError(f"{name} holds no picture any more; remove it, and add the file again")
    return {"JPEG": "jpg"}.get(kind.name, kind.name.lower())


@contextmanager
def _write_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise GalleryError(
            f"{folder} cannot be written ({error.strerror or error}); name another folder, or free some space"
        ) from error
