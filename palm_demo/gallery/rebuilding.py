"""A gallery of other weights made anew: the same pictures and captions, other latents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from palm_demo.errors import GalleryError
from palm_demo.gallery.adding import BATCH, Encoder
from palm_demo.gallery.pictures import decode
from palm_demo.gallery.rows import Row
from palm_demo.gallery.table import Gallery, begin, connect, explained, original_of, other_tables

KEPT = [field.name for field in fields(Row) if field.name != "latent"]


def outdated(place: str, fingerprint: str) -> int:
    """How many pictures there have latents of other weights."""
    database = connect(place)
    with explained(place):
        return sum(database.open_table(name).count_rows() for name in other_tables(database, fingerprint))


def rebuild(place: str, encoder: Encoder) -> Iterator[int]:
    """Looks at every picture again; yields how many each batch had.

    The new table grows beside the old one, which goes when all is done: a run that was stopped goes on
    where it was. Let nothing else write to the gallery meanwhile.
    """
    database = connect(place)
    with explained(place):
        olds = other_tables(database, encoder.fingerprint)
        if not olds:
            return
        table = begin(database, encoder.fingerprint, encoder.dim_latents)
    new = Gallery(place, encoder.fingerprint, table)
    there = {id for part in new.batches(["id"], 10_000) for id in part["id"].to_pylist()}
    for name in olds:
        with explained(place):
            old = Gallery(place, name, database.open_table(name))
        for part in old.batches(KEPT, BATCH):
            rows = [row for row in part.to_pylist() if row["id"] not in there]
            new.add(_looked_at_again(rows, encoder))
            yield len(part)
        with explained(place):
            database.drop_table(name)
    new.tidy()


def _looked_at_again(rows: list[dict], encoder: Encoder) -> list[Row]:
    if not rows:
        return []
    images = [decode(picture_of(row), row["name"], encoder.media_limits).image for row in rows]
    latents = encoder.embed_images(images)
    return [Row(**row, latent=latent) for row, latent in zip(rows, latents, strict=True)]


def picture_of(row: dict) -> bytes:
    """A row's picture file, or its thumbnail where the file has gone."""
    try:
        return original_of(row)
    except GalleryError:
        return row["thumbnail"]
