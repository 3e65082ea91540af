"""A gallery as a folder that other programs read: the pictures, and a Parquet table of the rest."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet
from PIL import Image

from palm_demo.errors import GalleryError
from palm_demo.gallery.rebuilding import picture_of
from palm_demo.gallery.table import Gallery

TABLE, PICTURES = "metadata.parquet", "pictures"
"""Names that the datasets library's ImageFolder reads, and `gallery add` too."""
COLUMNS = ["id", "name", "path", "original", "thumbnail", "caption", "added", "latent"]
WRITTEN = ["file_name", "caption", "id", "name", "added", "latent"]


def export(gallery: Gallery, folder: Path, ids: Sequence[str] | None = None) -> Iterator[int]:
    """Writes all pictures, or those of some ids, into an empty or new folder; yields how many each
    batch had. Raises GalleryError when something is in the folder, or it cannot be written."""
    try:
        if folder.exists() and any(folder.iterdir()):
            raise GalleryError(f"{folder} is not empty; name a folder that is not there yet")
        (folder / PICTURES).mkdir(parents=True, exist_ok=True)
        yield from _write(gallery, folder, ids)
    except OSError as error:
        raise GalleryError(f"{folder} cannot be written ({error}); name another folder") from error


def export_zip(gallery: Gallery, path: Path, ids: Sequence[str]) -> None:
    """The same as a ZIP archive, of a few pictures. Raises GalleryError when none of them is there."""
    with TemporaryDirectory() as folder:
        if not sum(export(gallery, Path(folder), ids)):
            raise GalleryError("none of these pictures is in the gallery any more; search again")
        with zipfile.ZipFile(path, "w") as archive:  # uncompressed: pictures hardly shrink
            for file in sorted(Path(folder).rglob("*")):
                if file.is_file():
                    archive.write(file, file.relative_to(folder))


def _write(gallery: Gallery, folder: Path, ids: Sequence[str] | None) -> Iterator[int]:
    writer = None
    for part in gallery.batches(COLUMNS, ids=ids):
        names = [_write_picture(folder, row) for row in part.select(COLUMNS[:5]).to_pylist()]
        table = part.append_column("file_name", pa.array(names, pa.string())).select(WRITTEN)
        writer = writer or pa.parquet.ParquetWriter(folder / TABLE, table.schema)
        writer.write_table(table)
        yield len(part)
    if writer is not None:
        writer.close()


def _write_picture(folder: Path, row: dict) -> str:
    """Its name in the folder."""
    data = picture_of(row)
    with Image.open(BytesIO(data)) as image:
        suffix = {"JPEG": "jpg", "MPO": "jpg"}.get(image.format, image.format.lower())
    name = f"{PICTURES}/{row['id']}.{suffix}"
    (folder / name).write_bytes(data)
    return name
