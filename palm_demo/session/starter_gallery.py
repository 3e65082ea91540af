"""The gallery of a session: its default place, and the scenes that a new one begins with."""

import logging
import os
from contextlib import suppress
from pathlib import Path

from palm_demo import world
from palm_demo.errors import GalleryError
from palm_demo.gallery import MEMORY, Encoder, Gallery, find_gallery, index, open_gallery
from palm_demo.gallery.ingest import as_row
from palm_demo.gallery.lance import retry
from palm_demo.gallery.pictures import as_png, decode
from palm_demo.gallery.rows import Row
from palm_demo.installation import GALLERY_VARIABLE, data_folder
from palm_demo.profiles import TINY, own_name

logger = logging.getLogger(__name__)

SCENE_SIDE = 192
"""Pixels of a side of these scenes."""


def open_or_begin(place: str | Path, encoder: Encoder) -> Gallery:
    """Opens the gallery in a place, or begins one with scenes that no model was trained on.

    Raises GalleryError if the place cannot be used, or the gallery was made by other weights.
    """
    if gallery := find_gallery(place, encoder.fingerprint):
        with suppress(GalleryError):  # one that cannot be written is there to be read
            retry(gallery.place, gallery.table, index.prepare)  # of one that was killed as it began
        return gallery
    return open_gallery(place, encoder.fingerprint, encoder.embedding_dim, first_rows(encoder))


def first_rows(encoder: Encoder) -> list[Row]:
    """The scenes with their captions and embeddings."""
    scenes = world.start_gallery()
    images = [
        decode(as_png(world.render(scene, SCENE_SIDE)), f"scene {number}.png", encoder.media_limits)
        for number, (scene, _) in enumerate(scenes, 1)
    ]
    embeddings = encoder.embed_images([each.image for each in images])
    return [
        as_row(each, embedding, caption)
        for each, embedding, (_, caption) in zip(images, embeddings, scenes, strict=True)
    ]


def default_place(profile: str | Path = TINY) -> str:
    """The folder of a gallery if none was named.

    It is `gallery` in the data folder for the bundled weights. Every other profile has one with its
    name, and with that of a MaMMUT picked for it, because embeddings of other weights cannot be compared.
    """
    own = "" if profile == TINY else f"-{own_name(profile)}"
    return str(data_folder() / f"gallery{own}")


def named_place(named: str | None = None) -> str | None:
    """The place that the caller or else the environment names; None if neither does."""
    return named or os.environ.get(GALLERY_VARIABLE) or None


def gallery_place(profile: str | Path = TINY, named: str | None = None) -> str:
    """The place that was named, or else the default one. Nothing is made there."""
    return named_place(named) or default_place(profile)


def page_place(profile: str | Path = TINY, named: str | None = None) -> str:
    """The place of a page's gallery; memory if the default folder cannot be written.

    A place that was named is never replaced: opening it reports what is wrong.
    """
    return named_place(named) or writable_or_memory(default_place(profile))


def writable_or_memory(folder: str) -> str:
    """A folder, made if missing; memory if it cannot be written."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError as error:
        logger.info("no folder can be made at %s (%s)", folder, error.strerror)
    logger.warning("%s cannot be written: the gallery is kept in memory and ends with the page", folder)
    return MEMORY
