"""A gallery of other weights made anew: the same pictures and captions, other latents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from palm_demo.errors import GalleryError, MediaError
from palm_demo.gallery.adding import BATCH, Encoder
from palm_demo.gallery.lance import (
    connect,
    connect_to_write,
    create,
    explained,
    insert_new,
    steadily,
    table_names,
)
from palm_demo.gallery.opening import begin, no_gallery, other_tables
from palm_demo.gallery.pictures import Pixels, picture_of
from palm_demo.gallery.report import Report, each
from palm_demo.gallery.rows import Row, schema
from palm_demo.gallery.table import Gallery

if TYPE_CHECKING:
    from lancedb.db import DBConnection

KEPT = [field.name for field in fields(Row) if field.name != "latent"]
LEFT_OUT = "left_out"
"""The table of pictures that could not be looked at again: they are in no gallery, and each rebuild tries
them once more."""


def outdated(place: str, fingerprint: str) -> int:
    """How many pictures there have no latents of these weights. Nothing is written."""
    if (database := connect(place)) is None:
        return 0
    with explained(place, ValueError):
        return sum(database.open_table(name).count_rows() for name in _olds(database, fingerprint))


def rebuild(place: str, encoder: Encoder, report: Report | None = None) -> Iterator[int]:
    """Looks at every picture again; yields how many each batch had.

    The new table grows beside the old one, which goes when all is done: a run that was stopped goes on
    where it was. Let nothing else write to the gallery meanwhile.

    A picture whose file cannot be read is looked at as its thumbnail, and noted in the report. One that
    fails altogether is left out of the gallery and in the report; it is kept aside for the next rebuild.
    Raises GalleryError where the place cannot be read or written.
    """
    report = Report() if report is None else report
    if connect(place) is None:
        raise GalleryError(no_gallery(place))
    database = connect_to_write(place)
    with explained(place, ValueError):
        olds = _olds(database, encoder.fingerprint)
    if not olds:
        return
    new = begin(place, database, encoder.fingerprint, encoder.dim_latents)
    there = set(new.whole(["id"])["id"].to_pylist())
    for name in olds:
        with explained(place, ValueError):
            old = Gallery(place, name, database.open_table(name))
        for part in old.batches(KEPT, BATCH):
            rows = [row for row in part.to_pylist() if row["id"] not in there]
            made, failed = _looked_at_again(rows, encoder, report)
            new.add(made)
            if name == LEFT_OUT:
                old.remove([row["id"] for row in part.to_pylist() if row["id"] not in failed])
            elif failed:
                _keep_aside(place, database, [row for row in rows if row["id"] in failed])
            yield len(part)
        old.wait()
        if name != LEFT_OUT or not len(old):
            with explained(place, ValueError):
                database.drop_table(name)
    new.tidy()


def _olds(database: DBConnection, fingerprint: str) -> list[str]:
    names = table_names(database)
    return [name for name in names if name == LEFT_OUT] + other_tables(names, fingerprint)


def _looked_at_again(rows: list[dict], encoder: Encoder, report: Report) -> tuple[list[Row], set[str]]:
    """The rows with new latents, and the ids of those that failed."""
    pixels = each(lambda some: [_pixels(row, encoder, report) for row in some], rows)
    seen = [(row, one) for row, one in zip(rows, pixels, strict=True) if isinstance(one, Pixels)]
    results = iter(each(lambda some: [*encoder.embed_images([one.image for _, one in some])], seen))
    made, failed = [], set()
    for row, one in zip(rows, pixels, strict=True):
        latent = next(results) if isinstance(one, Pixels) else one
        if isinstance(latent, np.ndarray) and np.isfinite(latent).all():
            made.append(Row(**row, latent=latent))
        else:
            error = MediaError(f"{row['name']} has an embedding that is not finite; take other weights")
            report.leave_out(row["name"], latent if isinstance(latent, Exception) else error)
            failed.add(row["id"])
    return made, failed


def _pixels(row: dict, encoder: Encoder, report: Report) -> Pixels:
    pixels, why_not = picture_of(row, encoder.media_limits)
    if why_not is not None:
        report.noted.append((row["name"], f"{why_not}: its thumbnail was taken"))
    return pixels


def _keep_aside(place: str, database: DBConnection, rows: list[dict]) -> None:
    form = pa.schema([field for field in schema(1) if field.name in KEPT])
    with explained(place, ValueError):
        table = create(database, LEFT_OUT, form)
    batch = pa.Table.from_pylist(rows, form)
    steadily(place, table, lambda table: insert_new(table, batch))
