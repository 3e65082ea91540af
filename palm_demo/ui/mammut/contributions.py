"""Pictures that visitors add to the gallery, where its owner lets them: all visitors see them."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from palm_demo.errors import GalleryError, MediaError, PalmDemoError
from palm_demo.gallery import Report, add_pictures
from palm_demo.session import Session
from palm_demo.settings import GalleryRules, Limits

CLOSED = (
    "the owner of this page keeps the gallery as it is (visitors under gallery in the Spacefile); on your "
    "own machine, add pictures with: python -m palm_demo gallery add FOLDER"
)


@dataclass(frozen=True)
class Upload:
    """A visitor's file, under the name that it was uploaded with."""

    name: str
    file: Path

    @property
    def path(self) -> None:
        """Uploads are deleted after a while: the gallery keeps the bytes."""
        return None

    def read(self) -> bytes:
        try:
            return self.file.read_bytes()
        except OSError as error:
            raise MediaError(f"{self.name} is no longer there; upload it again") from error


class Contributions:
    """Who has added what. A visitor may remove their own pictures, as long as the page is open."""

    def __init__(self, session: Session, limits: Limits, rules: GalleryRules):
        self.session, self.limits, self.rules = session, limits, rules
        self._ids: dict[str, set[str]] = defaultdict(set)
        self._writing = threading.Lock()

    def add(self, visitor: str | None, files: Sequence[Path]) -> Iterator[Report]:
        """Adds a visitor's files one by one; yields what has become of them before the first and after
        each. Whoever asks no further stops it: what was added stays. visitor: None for who owns nothing.

        Raises GalleryError where the owner does not want that and when the gallery is full, MediaError for
        no files or too many at once.
        """
        self._check_open()
        if not files:
            raise MediaError("there are no pictures yet; choose one or more first")
        if len(files) > self.limits.media:
            raise MediaError(
                f"{len(files)} pictures came at once and at most {self.limits.media} can be added; "
                f"leave {len(files) - self.limits.media} for later"
            )
        self._check_room(len(files))
        report = Report()
        yield report
        for file in files:
            upload = Upload(Path(file).name, Path(file))
            try:
                report.extend(self._add(visitor, upload))
            except PalmDemoError as error:  # what went in before is told, and stays its owner's to remove
                report.unreadable.append((upload.name, str(error)))
            yield report

    def _add(self, visitor: str | None, upload: Upload) -> Report:
        with self._writing:
            self._check_room(1)
            report = add_pictures(self.session.gallery, self.session, [upload])
            if visitor is not None:
                self._ids[visitor] |= set(report.added)
        return report

    def remove(self, visitor: str | None, ids: Sequence[str]) -> int:
        """Removes pictures that this visitor has added; GalleryError for others'."""
        self._check_open()
        if not ids or not set(ids) <= self._ids.get(visitor, set()):
            raise GalleryError("this picture is not one that you added; only those can you remove")
        with self._writing:
            removed = self.session.gallery.remove(ids)
        self._ids[visitor] -= set(ids)
        return removed

    def leave(self, visitor: str) -> None:
        """Forgets who added what; the pictures stay."""
        self._ids.pop(visitor, None)

    def _check_open(self) -> None:
        if not self.rules.visitors:
            raise GalleryError(CLOSED)

    def _check_room(self, wanted: int) -> None:
        there = len(self.session.gallery)
        if there + wanted > self.rules.pictures:
            raise GalleryError(
                f"the gallery has {there} pictures and may have {self.rules.pictures}; "
                "remove some of yours first"
            )
