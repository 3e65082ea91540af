"""Adding pictures: read, looked at by the models, kept unless they are there already."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from palm_demo.errors import MediaError
from palm_demo.gallery.copies import Copies
from palm_demo.gallery.pictures import Pixels, content_id, decode
from palm_demo.gallery.rows import Row
from palm_demo.gallery.table import Gallery
from palm_demo.media import MediaLimits

BATCH = 64
"""Pictures that are looked at together and written together: what a kill can cost."""
TIDIED = 50
"""Batches after which the table's small files are brought together."""


class Encoder(Protocol):
    """What looks at pictures for a gallery; a Session is one."""

    media_limits: MediaLimits

    @property
    def fingerprint(self) -> str:
        """Which weights make the latents."""

    @property
    def dim_latents(self) -> int: ...

    def embed_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        """(n, d) float32 unit rows."""

    def captions(self, images: Sequence[Image.Image]) -> list[str]: ...


class PictureFile(Protocol):
    """A picture file that may be added."""

    name: str

    @property
    def path(self) -> Path | None:
        """Where it lies, if it lies somewhere for itself."""

    def read(self) -> bytes: ...


@dataclass
class Report:
    """What became of the pictures. known: names of files that were there already. near: (name, id of the
    picture that it looks like). unreadable: (name, why)."""

    added: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    near: list[tuple[str, str]] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    def extend(self, other: Report) -> None:
        """Takes in what became of more pictures."""
        self.added += other.added
        self.known += other.known
        self.near += other.near
        self.unreadable += other.unreadable


class Intake:
    """One run of adding: what is new goes into the gallery, what happened into the report."""

    def __init__(self, gallery: Gallery):
        self.gallery, self.report = gallery, Report()
        self.copies = Copies(gallery)
        self._written = 0

    def fresh(self, rows: Sequence[Row]) -> list[Row]:
        """The rows that are no copies."""
        fresh, same, near = self.copies.without(rows)
        self.report.known += [row.name for row in same]
        self.report.near += [(row.name, other) for row, other in near]
        return fresh

    def write(self, rows: Sequence[Row]) -> None:
        """All of them, in one commit."""
        if not rows:
            return
        self.gallery.add(rows)
        self.report.added += [row.id for row in rows]
        self._written += 1
        if self._written % TIDIED == 0:
            self.gallery.tidy()

    def finish(self) -> Report:
        if self.report.added:
            self.gallery.tidy()
        return self.report


def add_pictures(
    gallery: Gallery,
    encoder: Encoder,
    files: Iterable[PictureFile],
    captions: Mapping[str, str] = {},
    link: bool = False,
    tell: Callable[[int], object] = lambda count: None,
) -> Report:
    """Adds picture files; what is there already is skipped, so a run that was stopped goes on where it was.

    captions: by name; pictures without one are described by the encoder. link: keep the paths of the
    files and not their bytes, where they have paths. tell: called after each batch with its files' count.
    """
    intake = Intake(gallery)
    for some in batched(files, BATCH):
        pixels = list(readable(some, encoder.media_limits, intake.copies.ids, intake.report))
        rows = looked_at(pixels, encoder, captions, link)
        images = {each.id: each.image for each, _ in pixels}
        intake.write(described(intake.fresh(rows), images, encoder))
        tell(len(some))
    return intake.finish()


def readable(
    files: Iterable[PictureFile], limits: MediaLimits, known: set[str], report: Report
) -> Iterator[tuple[Pixels, PictureFile]]:
    """The files that are pictures and not known; the others go into the report."""
    for file in files:
        try:
            data = file.read()
            if content_id(data) in known:
                report.known.append(file.name)
            else:
                yield decode(data, file.name, limits), file
        except MediaError as error:
            report.unreadable.append((file.name, str(error)))


def looked_at(
    pixels: Sequence[tuple[Pixels, PictureFile]], encoder: Encoder, captions: Mapping[str, str], link: bool
) -> list[Row]:
    """Pictures as rows, with the captions that were given."""
    if not pixels:
        return []
    latents = encoder.embed_images([each.image for each, _ in pixels])
    return [
        as_row(each, latent, captions.get(file.name, ""), file.path if link else None)
        for (each, file), latent in zip(pixels, latents, strict=True)
    ]


def as_row(pixels: Pixels, latent: np.ndarray, caption: str, path: Path | None = None) -> Row:
    """What is written of a picture, added now. path: where its file lies, if the gallery is to keep
    that instead of the bytes."""
    return Row(
        id=pixels.id,
        name=pixels.name,
        path=None if path is None else str(path.resolve()),
        original=pixels.original if path is None else None,
        thumbnail=pixels.thumbnail,
        caption=caption,
        phash=pixels.phash,
        added=datetime.now(timezone.utc),
        latent=latent,
    )


def described(rows: Sequence[Row], images: Mapping[str, Image.Image], encoder: Encoder) -> list[Row]:
    """The rows, those without a caption with one of the encoder's. images: by id."""
    bare = [row.id for row in rows if not row.caption]
    made = dict(zip(bare, encoder.captions([images[id] for id in bare]), strict=True)) if bare else {}
    return [replace(row, caption=made.get(row.id, row.caption)) for row in rows]


def batched(items: Iterable, size: int) -> Iterator[list]:
    """itertools.batched, which Python has from 3.12 on."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some
