"""Opening a gallery: to read what is there, or to write to it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from palm_demo.errors import GalleryError
from palm_demo.gallery import index
from palm_demo.gallery.lance import connect, connect_to_write, create, explained, steadily, table_names
from palm_demo.gallery.rows import Row, as_table, schema
from palm_demo.gallery.store import Gallery
from palm_demo.installation import COMMAND

if TYPE_CHECKING:
    from lancedb.db import DBConnection

NAME = "pictures_"
"""A table is called after the weights that made its embeddings, so that those of two never meet in one."""


def open_gallery(
    place: str | Path, fingerprint: str, embedding_dim: int, rows: Sequence[Row] = ()
) -> Gallery:
    """A gallery to write to, begun where there is none.

    Args:
        place: a folder, `s3://bucket/folder`, or MEMORY.
        fingerprint: which weights make the embeddings, of embedding_dim numbers each.
        rows: what a new gallery begins with, in one commit with it: it has them all, or is not there.

    Raises GalleryError where the place cannot be written, and where the gallery is of other weights, whose
    embeddings mean something else.
    """
    place = str(place)
    database = connect_to_write(place)
    refuse_others(place, database, fingerprint)
    return begin(place, database, fingerprint, embedding_dim, rows)


def begin(
    place: str, database: DBConnection, fingerprint: str, embedding_dim: int, rows: Sequence[Row] = ()
) -> Gallery:
    """The gallery of these weights, with its indices, made where there is none."""
    form = schema(embedding_dim)
    with explained(place, ValueError):
        table = create(database, NAME + fingerprint, form, as_table(rows, form) if rows else None)
    steadily(place, table, index.prepare)
    return Gallery(place, fingerprint, table)


def find_gallery(place: str | Path, fingerprint: str) -> Gallery | None:
    """The gallery of these weights that lies in a place, None where none does. Nothing is written.

    Raises GalleryError where the place cannot be read, and where the gallery is of other weights.
    """
    place = str(place)
    if (database := connect(place)) is None:
        return None
    refuse_others(place, database, fingerprint)
    found = [gallery for gallery in _all(place, database) if gallery.fingerprint == fingerprint]
    return found[0] if found else None


def has_gallery(place: str | Path) -> bool:
    """Whether a gallery lies in a place, whichever weights made it. Nothing is written."""
    database = connect(str(place))
    return database is not None and bool(_all(str(place), database))


def galleries_in(place: str | Path) -> list[Gallery]:
    """What lies in a place, whichever weights made it: one gallery, or two where a rebuild has not ended.

    No model is needed for it, and nothing is written. Raises GalleryError where there is none, and where
    the place cannot be read.
    """
    place = str(place)
    database = connect(place)
    if found := [] if database is None else _all(place, database):
        return found
    raise GalleryError(no_gallery(place))


def check_writable(place: str | Path, make: bool = True) -> None:
    """Raises GalleryError where a gallery cannot be written. make: a folder that is not there is made;
    otherwise there has to be a gallery in it."""
    if not (make or has_gallery(place)):
        raise GalleryError(no_gallery(str(place)))
    connect_to_write(str(place))


def no_gallery(place: str) -> str:
    """What to say, and to do, where there is none."""
    return (
        f"there is no gallery in {place}; `{COMMAND} gallery add FOLDER` makes one, or name another place "
        "with --gallery or PALM_DEMO_GALLERY"
    )


def other_tables(names: Sequence[str], fingerprint: str) -> list[str]:
    """Those tables that other weights made."""
    return [name for name in names if name.startswith(NAME) and name != NAME + fingerprint]


def refuse_others(place: str, database: DBConnection, fingerprint: str) -> None:
    """Raises GalleryError where other weights have made the gallery."""
    with explained(place, ValueError):
        others = other_tables(table_names(database), fingerprint)
    if others:
        raise GalleryError(
            f"the gallery in {place} was made by other weights ({others[0].removeprefix(NAME)}) than "
            f"these ({fingerprint}); make it anew from its pictures with "
            f"`{COMMAND} gallery rebuild --gallery {place}`"
        )


def _all(place: str, database: DBConnection) -> list[Gallery]:
    with explained(place, ValueError):
        names = [name for name in table_names(database) if name.startswith(NAME)]
        opened = map(partial(_opened, place, database), names)
        return list(opened)


def _opened(place: str, database: DBConnection, name: str) -> Gallery:
    return Gallery(place, name.removeprefix(NAME), database.open_table(name))
