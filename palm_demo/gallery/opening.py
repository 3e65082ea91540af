"""Opens galleries: to read what is in a place, or to write to it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from palm_demo.errors import GalleryError, OtherWeightsError
from palm_demo.gallery import index
from palm_demo.gallery.lance import connect, connect_to_write, create, explained, retry, table_names
from palm_demo.gallery.rows import Row, as_table, schema
from palm_demo.gallery.store import Gallery
from palm_demo.installation import COMMAND

if TYPE_CHECKING:
    from lancedb.db import DBConnection

NAME = "pictures_"
"""Beginning of a table's name. The fingerprint of the weights follows, so embeddings of two models never
mix."""


def open_gallery(
    place: str | Path, fingerprint: str, embedding_dim: int, rows: Sequence[Row] = ()
) -> Gallery:
    """Opens a gallery to write to, and begins one if there is none.

    Args:
        place: a folder, `s3://bucket/folder`, or MEMORY.
        fingerprint: of the weights that make the embeddings.
        embedding_dim: the width of an embedding.
        rows: the first rows of a new gallery, written in the commit that creates it.

    Raises GalleryError where the place cannot be written, and where the gallery was made by other
    weights, whose embeddings cannot be compared with these.
    """
    place = str(place)
    database = connect_to_write(place)
    refuse_others(place, database, fingerprint)
    return begin(place, database, fingerprint, embedding_dim, rows)


def begin(
    place: str, database: DBConnection, fingerprint: str, embedding_dim: int, rows: Sequence[Row] = ()
) -> Gallery:
    """Opens the gallery of these weights with its indices, and makes it if there is none."""
    form = schema(embedding_dim)
    with explained(place, ValueError):
        table = create(database, NAME + fingerprint, form, as_table(rows, form) if rows else None)
    retry(place, table, index.prepare)
    return Gallery(place, fingerprint, table)


def find_gallery(place: str | Path, fingerprint: str) -> Gallery | None:
    """Opens the gallery of these weights in a place; None if there is none. Nothing is written.

    Raises GalleryError where the place cannot be read, and where the gallery was made by other
    weights.
    """
    place = str(place)
    if (database := connect(place)) is None:
        return None
    refuse_others(place, database, fingerprint)
    found = [gallery for gallery in _all(place, database) if gallery.fingerprint == fingerprint]
    return found[0] if found else None


def has_gallery(place: str | Path) -> bool:
    """Whether there is a gallery in a place, whichever weights made it. Nothing is written."""
    database = connect(str(place))
    return database is not None and bool(_all(str(place), database))


def galleries_in(place: str | Path) -> list[Gallery]:
    """The galleries in a place, whichever weights made them: one, or two where a rebuild has not ended.

    It needs no model, and writes nothing. Raises GalleryError where there is none, and where the place
    cannot be read.
    """
    place = str(place)
    database = connect(place)
    if found := [] if database is None else _all(place, database):
        return found
    raise GalleryError(no_gallery(place))


def check_writable(place: str | Path, make: bool = True) -> None:
    """Raises GalleryError where a gallery cannot be written.

    `make`: make a folder that is missing; otherwise there has to be a gallery in it.
    """
    if not (make or has_gallery(place)):
        raise GalleryError(no_gallery(str(place)))
    connect_to_write(str(place))


def no_gallery(place: str) -> str:
    """The message for a place without a gallery, and what to do about it."""
    return (
        f"there is no gallery in {place}; `{COMMAND} gallery add FOLDER` makes one, or name another place "
        "with --gallery or PALM_DEMO_GALLERY"
    )


def other_tables(names: Sequence[str], fingerprint: str) -> list[str]:
    """The names of tables that other weights made."""
    return [name for name in names if name.startswith(NAME) and name != NAME + fingerprint]


def refuse_others(place: str, database: DBConnection, fingerprint: str) -> None:
    """Raises OtherWeightsError where other weights made the gallery."""
    with explained(place, ValueError):
        others = other_tables(table_names(database), fingerprint)
    if others:
        raise OtherWeightsError(
            f"the gallery in {place} was made by other weights ({others[0].removeprefix(NAME)}) than "
            f"these ({fingerprint}); make it anew from its pictures with "
            f"`{COMMAND} gallery rebuild --gallery {place}` and the --profile of these, or name another "
            "place with --gallery or PALM_DEMO_GALLERY"
        )


def _all(place: str, database: DBConnection) -> list[Gallery]:
    with explained(place, ValueError):
        names = [name for name in table_names(database) if name.startswith(NAME)]
        opened = map(partial(_opened, place, database), names)
        return list(opened)


def _opened(place: str, database: DBConnection, name: str) -> Gallery:
    return Gallery(place, name.removeprefix(NAME), database.open_table(name))
