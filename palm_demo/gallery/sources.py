"""Picture files of a folder or a ZIP archive, and the captions beside them."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from palm_demo.errors import GalleryError, MediaError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
FILE_BYTES = 100_000_000
"""Of one picture file."""
ARCHIVE_RATIO, ARCHIVE_BYTES = 100, 1_000_000_000
"""An archive that would unpack to more bytes than the latter and to more than the former times its own
size is a bomb: picture files hardly shrink."""


@dataclass(frozen=True)
class Source:
    """A file in a folder or an archive; `name` is its place there, with forward slashes."""

    container: Path
    name: str

    @property
    def path(self) -> Path | None:
        """Where the file lies, if it is no part of an archive."""
        return None if self.container.is_file() else self.container / self.name

    def read(self) -> bytes:
        """Its bytes. Raises MediaError where it cannot be read or has more than FILE_BYTES."""
        try:
            if self.path is None:
                with _archive(self.container).open(self.name) as file:
                    data = file.read(FILE_BYTES + 1)
            else:
                with self.path.open("rb") as file:
                    data = file.read(FILE_BYTES + 1)
        except (OSError, RuntimeError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
            raise MediaError(f"{self.name} cannot be read ({error}); save it anew") from error
        if len(data) > FILE_BYTES:
            raise MediaError(f"{self.name} has more than {FILE_BYTES:,} bytes; make it smaller")
        return data


def find_files(place: Path) -> list[Source]:
    """The files of a folder, with those of the folders in it, or of a ZIP archive; ordered by name.

    Raises GalleryError when there is no such place, and for an archive that is damaged, a bomb, or
    has names that lead out of it. Nothing is ever unpacked to disk.
    """
    if place.is_dir():
        paths = (path for path in place.rglob("*") if path.is_file() and not path.is_symlink())
        return sorted((Source(place, path.relative_to(place).as_posix()) for path in paths), key=_by_name)
    if not place.exists():
        raise GalleryError(f"there is no {place}; name a folder of pictures or a ZIP archive")
    try:
        members = [member for member in _archive(place).infolist() if not member.is_dir()]
    except (zipfile.BadZipFile, OSError) as error:
        raise GalleryError(f"{place} is no folder and no ZIP archive ({error}); name one of these") from error
    _check_archive(place, members)
    return sorted((Source(place, member.filename) for member in members), key=_by_name)


def pictures_of(files: Sequence[Source]) -> list[Source]:
    """Those that are called like pictures."""
    return [file for file in files if PurePosixPath(file.name).suffix.lower() in SUFFIXES]


def _check_archive(place: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    for member in members:
        parts = PurePosixPath(member.filename.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in parts.parts[0]:
            raise GalleryError(
                f"{place.name} has a file called {member.filename!r:.80}, which leads out of the archive; "
                "an archive like that is not read, pack the pictures anew"
            )
    unpacked, packed = sum(member.file_size for member in members), place.stat().st_size
    if unpacked > ARCHIVE_BYTES and unpacked > ARCHIVE_RATIO * packed:
        raise GalleryError(
            f"{place.name} has {packed:,} bytes and would unpack to {unpacked:,}, more than {ARCHIVE_RATIO} "
            "times as many; an archive like that is not read, give the folder instead"
        )


@lru_cache(maxsize=1)
def _archive(place: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(place)


def _by_name(source: Source) -> str:
    return source.name
