"""Picture files of a folder or a ZIP archive, found and read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from palm_demo.errors import GalleryError, MediaError
from palm_demo.gallery.archives import members_of, read_member
from palm_demo.gallery.report import shown

SUFFIXES = {
    ".png",
    ".jpg",
    ".jpeg",
    ".jfif",
    ".webp",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
    ".heic",
    ".heif",
    ".avif",
}
"""What pictures are called. A file of these names that cannot be read is told."""
FILE_BYTES = 100_000_000
"""Of one picture file."""


@dataclass(frozen=True)
class Source:
    """A file in a folder or an archive.

    name: its place there, with forward slashes. member: its number in an archive, where two members may have
    one name. problem: why it cannot be
    read, where that is known already.
    """

    container: Path
    name: str
    member: int | None = None
    problem: str | None = None

    @property
    def path(self) -> Path | None:
        """Where the file lies, if it is no part of an archive."""
        return None if self.container.is_file() else self.container / self.name

    def absolute(self) -> Source:
        """The same file, wherever a process stands."""
        return replace(self, container=self.container.absolute())

    def read(self, most: int | None = None) -> bytes:
        """Its bytes, or the first so many. Raises MediaError where it cannot be read, and where it has more
        than FILE_BYTES."""
        wanted = FILE_BYTES + 1 if most is None else most
        name = shown(self.name)
        if self.problem is not None:
            raise MediaError(f"{name} {self.problem}")
        try:
            if (path := self.path) is None:
                data = read_member(self.container, self.member, self.name, wanted)
            else:
                data = read_regular(path, wanted)
        except (MediaError, MemoryError):
            raise
        except Exception as error:  # archives fail in as many ways as there are ways to pack
            said = shown(str(error) or type(error).__name__)
            raise MediaError(f"{name} cannot be read ({said:.200}); save it anew") from error
        if most is None and len(data) > FILE_BYTES:
            raise MediaError(f"{name} has more than {FILE_BYTES:,} bytes; make it smaller")
        return data


def find_files(place: Path) -> list[Source]:
    """The files of a folder, with those of the folders in it, or of a ZIP archive; ordered by name.

    Links are followed, to files and to folders; what cannot be read (a link to nowhere or back to a folder
    that it lies in, a device, a folder that may not be opened) is there with its problem.

    Raises GalleryError when there is no such place, and for an archive that is damaged, a bomb, or has names
    that lead out of it. Nothing is ever unpacked to disk.
    """
    place = Path(place)
    if place.is_dir():
        return sorted(_walk(place), key=_by_name)
    if not place.exists():
        raise GalleryError(f"there is no {shown(str(place))}; name a folder of pictures or a ZIP archive")
    members = [Source(place, member.filename, at, problem) for at, member, problem in members_of(place)]
    return sorted(members, key=_by_name)


def pictures_of(files: Sequence[Source]) -> list[Source]:
    """Those that are called like pictures, and folders that cannot be looked into."""
    return [file for file in files if _suffix(file) in SUFFIXES or file.name.endswith("/")]


def _walk(root: Path) -> Iterator[Source]:
    """Files of a folder and of those in it, in no order; each folder once, however many links lead there."""
    # (name in the root, real places of the folder and of those that it was reached through)
    folders: list[tuple[str, tuple[str, ...]]] = [("", (os.path.realpath(root),))]
    linked: list[tuple[str, tuple[str, ...]]] = []
    seen = set()
    while folders or linked:
        under, above = (folders or linked).pop()  # links last: a folder's own name is the better one
        if above[-1] in seen:
            continue
        seen.add(above[-1])
        try:
            entries = [*os.scandir(root / under)]
        except OSError as error:
            problem = f"cannot be looked into ({error.strerror}); see who may"
            yield Source(root, under or "./", problem=problem)
            continue
        for entry in entries:
            name = under + entry.name
            try:
                mode = entry.stat().st_mode
            except OSError as error:
                yield Source(root, name, problem=_of_link(entry, error))
                continue
            if stat.S_ISREG(mode):
                yield Source(root, name)
            elif not stat.S_ISDIR(mode):
                yield Source(root, name, problem="is no regular file; leave it out")
            elif (real := os.path.realpath(entry.path)) in above:
                yield Source(root, f"{name}/", problem="is a link back to a folder around it; leave it out")
            else:
                (linked if entry.is_symlink() else folders).append((f"{name}/", (*above, real)))


def _of_link(entry: os.DirEntry, error: OSError) -> str:
    if entry.is_symlink():
        return f"is a link that leads nowhere ({error.strerror}); mend or remove it"
    return f"cannot be read ({error.strerror}); see who may"


def read_regular(path: Path, most: int = FILE_BYTES) -> bytes:
    """At most so many bytes of a file. Raises MediaError for what is no regular file, OSError as `open`."""
    # what was a file when it was found may be a pipe by now, which would never end
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise MediaError(f"{shown(path.name)} is no regular file; leave it out")
        return file.read(most)


def _suffix(file: Source) -> str:
    return PurePosixPath(file.name).suffix.lower()


def _by_name(source: Source) -> str:
    return source.name
