"""Ingests pictures: each is read, embedded, captioned and stored, unless the gallery has it already."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from PIL import Image

from palm_demo.errors import GalleryError, MediaError
from palm_demo.gallery.deduplicate import Deduplicator
from palm_demo.gallery.pictures import DecodedImage, content_id, decode
from palm_demo.gallery.report import Report, batched, each, shown, why
from palm_demo.gallery.rows import Row
from palm_demo.gallery.store import Gallery
from palm_demo.media import MediaLimits

T = TypeVar("T")
R = TypeVar("R")

BATCH = 64
"""Pictures that are embedded and written together. A killed run loses at most these."""


class Encoder(Protocol):
    """What embeds and captions pictures for a gallery, such as MaMMUT in a session."""

    @property
    def media_limits(self) -> MediaLimits:
        """The limits on pictures."""

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the weights that make the embeddings."""

    @property
    def embedding_dim(self) -> int: ...

    def embed_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Unit embeddings of pictures, (n, d) float32."""

    def embed_and_caption(self, images: Sequence[Image.Image]) -> tuple[np.ndarray, list[str]]:
        """Embeddings as of `embed_images`, and a caption of each picture, from one pass of the vision
        tower."""


class PictureFile(Protocol):
    """A picture file that may be added."""

    @property
    def name(self) -> str: ...

    @property
    def path(self) -> Path | None:
        """Where the file lies; None if it is part of an archive."""

    def read(self) -> bytes: ...


@dataclass(frozen=True)
class Ingested:
    """The result for one file: a row, or that the gallery has it (`known`), or why there is no row."""

    name: str
    row: Row | None = None
    known: bool = False
    why: str | None = None


class Ingestor:
    """One run of ingesting: new pictures go into the gallery, and what happened to each into the report."""

    def __init__(self, gallery: Gallery):
        self.gallery, self.report = gallery, Report()
        self.copies = Deduplicator(gallery)
        self._new: set[str] = set()

    def take(self, ingested: Sequence[Ingested]) -> None:
        """Writes the rows that are not copies, all in one commit."""
        self.report.known += [one.name for one in ingested if one.known]
        self.report.unreadable += [(one.name, one.why) for one in ingested if one.why is not None]
        fresh, same, near = self.copies.split([one.row for one in ingested if one.row is not None])
        self.report.known += [row.name for row in same]
        self.report.near += [(row.name, other) for row, other in near]
        self._new.clear()
        try:
            written = each(self._write, fresh)
        except GalleryError as error:
            if not self.report.added:
                raise
            count = len(self.report.added)
            raise GalleryError(
                f"{count} pictures of this run are in the gallery, then it ended: {error}"
            ) from error
        for row, result in zip(fresh, written, strict=True):
            if isinstance(result, Exception):
                self.report.leave_out(row.name, result)
            elif result not in self._new:  # another process was quicker
                self.report.known.append(row.name)

    def _write(self, rows: Sequence[Row]) -> list[str]:
        """Writes rows and returns their ids. Those that were new are added to the report."""
        new = self.gallery.add(rows)
        self.report.added += new
        self._new.update(new)
        return [row.id for row in rows]

    def finish(self) -> Report:
        """Ends the run and returns its report."""
        if self.report.added:
            self.gallery.tidy_when_due()
        return self.report


def ingest_pictures(
    gallery: Gallery,
    encoder: Encoder,
    files: Iterable[PictureFile],
    captions: Mapping[str, str] = {},
    link: bool = False,
    on_progress: Callable[[int], object] = lambda count: None,
) -> Report:
    """Adds picture files to a gallery and reports what happened to each.

    Files that are there already are skipped, so running it again continues a run that was stopped. A
    file that fails is left out, and is in the report with the reason.

    Args:
        gallery: where the pictures go.
        encoder: embeds the pictures, and captions those without a caption.
        files: the picture files.
        captions: file name -> caption.
        link: store the paths of the files instead of their bytes, where they have paths.
        on_progress: called after each batch with its number of files.

    Raises GalleryError where the gallery cannot be written, and any error that would recur with every
    picture (`NOT_OF_ONE`). What was written before stays.
    """
    ingestor = Ingestor(gallery)

    def read(some: Sequence[PictureFile]) -> tuple[Sequence[PictureFile], list[DecodedImage | Ingested]]:
        return some, read_files(some, encoder.media_limits, ingestor.copies.ids)

    for some, decoded in one_ahead(read, batched(files, BATCH)):
        ingestor.take(embed_decoded(some, decoded, encoder, captions, link))
        on_progress(len(some))
    return ingestor.finish()


def one_ahead(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """The function of each item, in their order, each computed in a thread while the one before is used."""
    with ThreadPoolExecutor(1, thread_name_prefix="one ahead") as beside:
        pending = None
        for item in items:
            following = beside.submit(function, item)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()


def embed_files(
    files: Sequence[PictureFile],
    encoder: Encoder,
    known: set[str],
    captions: Mapping[str, str] = {},
    link: bool = False,
) -> list[Ingested]:
    """Reads and embeds files; the results are in their order. `known`: ids that need no embedding."""
    return embed_decoded(files, read_files(files, encoder.media_limits, known), encoder, captions, link)


def read_files(
    files: Sequence[PictureFile], limits: MediaLimits, known: set[str]
) -> list[DecodedImage | Ingested]:
    """The pixels of each file, or what there is to say where none are needed or to be had."""
    return [_read(file, limits, known) for file in files]


def embed_decoded(
    files: Sequence[PictureFile],
    read: Sequence[DecodedImage | Ingested],
    encoder: Encoder,
    captions: Mapping[str, str] = {},
    link: bool = False,
) -> list[Ingested]:
    """What each file gave, once they were read: one pass of the vision tower over those with pixels that have
    a caption, and one over the others."""
    results: dict[int, tuple[np.ndarray, str | None] | Exception] = {}
    pixels = {place: one for place, one in enumerate(read) if isinstance(one, DecodedImage)}
    for captioned, compute in ((False, _embedded_and_described(encoder)), (True, _embedded(encoder))):
        places = [place for place in pixels if bool(captions.get(files[place].name)) == captioned]
        results |= zip(places, each(compute, [pixels[place] for place in places]), strict=True)
    return [
        _ingested(files[place], one, results[place], captions, link) if place in pixels else one
        for place, one in enumerate(read)
    ]


def _read(file: PictureFile, limits: MediaLimits, known: set[str]) -> DecodedImage | Ingested:
    """Decodes a file, or says that it is known or why it cannot be read."""
    name = shown(file.name)
    try:
        data = file.read()
        return Ingested(name, known=True) if content_id(data) in known else decode(data, name, limits)
    except Exception as error:  # whatever kind it is, it is reported
        return Ingested(name, why=why(name, error))


def _embedded(encoder: Encoder):
    """A function that gives (embedding, None) for each of some pictures."""
    return lambda some: [(embedding, None) for embedding in encoder.embed_images([one.image for one in some])]


def _embedded_and_described(encoder: Encoder):
    """A function that gives (embedding, caption) for each of some pictures."""
    return lambda some: zip(*encoder.embed_and_caption([one.image for one in some]), strict=True)


def _ingested(
    file: PictureFile,
    pixels: DecodedImage,
    result: tuple[np.ndarray, str | None] | Exception,
    captions: Mapping[str, str],
    link: bool,
) -> Ingested:
    """A file's row, or why there is none."""
    try:
        if isinstance(result, Exception):
            raise result
        embedding, caption = result
        if not np.isfinite(embedding).all():
            raise MediaError(f"{pixels.name} has an embedding that is not finite; leave it out")
        caption = captions[file.name] if caption is None else caption
        return Ingested(pixels.name, as_row(pixels, embedding, caption, file.path if link else None))
    except Exception as error:  # whatever kind it is, it is reported
        return Ingested(pixels.name, why=why(pixels.name, error))


def as_row(pixels: DecodedImage, embedding: np.ndarray, caption: str, path: Path | None = None) -> Row:
    """Makes the row to store for a picture, added now.

    `path`: where its file lies, if the gallery is to store that instead of the bytes. Raises
    MediaError for a path that cannot be stored.
    """
    place = None if path is None else str(path.resolve())
    if place is not None and shown(place) != place:
        raise MediaError(
            f"the path of {pixels.name} is not UTF-8 and cannot be stored; add it without --link"
        )
    return Row(
        id=pixels.id,
        name=pixels.name,
        path=place,
        original=pixels.original if place is None else None,
        thumbnail=pixels.thumbnail,
        caption=shown(caption),
        phash=pixels.phash,
        added=datetime.now(timezone.utc),
        embedding=embedding,
    )
