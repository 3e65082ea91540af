"""Picture files of a folder or a ZIP archive: found, and read one by one."""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath

from palm_demo.errors import GalleryError, MediaError, PalmDemoError
from palm_demo.gallery.report import shown

MEMBERS = 1_000_000
"""The most members of an archive. Their list is read before anything else is known."""
ARCHIVE_RATIO, ARCHIVE_BYTES = 100, 1_000_000_000
"""An archive that would unpack to more than this many times its size, and to more than this many bytes,
is a bomb: picture files hardly shrink."""
UTF8 = 0x800
"""The flag of a member whose name claims to be UTF-8."""


def members_of(place: Path) -> list[tuple[int, zipfile.ZipInfo, str | None]]:
    """The files in an archive: position, entry, and why it cannot be read, if that is known already.

    Raises GalleryError for a file that is not an archive, for a bomb, and for names that lead out of
    the archive.
    """
    try:
        archive, packed = opened(place), place.stat().st_size
    except (PalmDemoError, MemoryError):
        raise
    except Exception as error:  # a damaged list of members fails in many ways
        raise GalleryError(
            f"{place} is neither a folder nor a ZIP archive ({error}); name one of these"
        ) from error
    members = [(at, one) for at, one in enumerate(archive.infolist()) if not one.is_dir()]
    for _, member in members:
        _check_name(place, member.filename)
    unpacked = sum(member.file_size for _, member in members)
    if unpacked > ARCHIVE_BYTES and unpacked > ARCHIVE_RATIO * packed:
        raise GalleryError(
            f"{place.name} has {packed:,} bytes and would unpack to {unpacked:,}, more than {ARCHIVE_RATIO} "
            "times as many; an archive like that is not read, give the folder instead"
        )
    return [(at, member, _why_not(member)) for at, member in members]


def read_member(place: Path, at: int | None, name: str, most: int) -> bytes:
    """Reads at most `most` bytes of an archive's member.

    `at`: its position, for archives in which several members have one name. Raises MediaError where
    the archive has been replaced since.
    """
    archive = opened(place)
    members = archive.infolist() if at is not None else [archive.NameToInfo.get(name)]
    member = members[at or 0] if (at or 0) < len(members) else None
    if member is None or member.filename != name:
        raise MediaError(f"{place.name} is not the archive any more that it was; add it again")
    with archive.open(member) as file:
        return file.read(most)


def opened(place: Path) -> zipfile.ZipFile:
    """The archive at a path as it is now. It stays open until another one is asked for."""
    found = place.stat()
    return _opened(place, found.st_ino, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=1)
def _opened(place: Path, *state: int) -> zipfile.ZipFile:
    file = _WithAnyNames(place)
    archive = zipfile.ZipFile(file)
    file.mend_members(archive.infolist())
    return archive


def _check_name(place: Path, name: str) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", name):
        raise GalleryError(
            f"{place.name} has a file called {name!r:.80}, which leads out of the archive; "
            "an archive like that is not read, pack the pictures anew"
        )


def _why_not(member: zipfile.ZipInfo) -> str | None:
    if stat.S_ISLNK(member.external_attr >> 16):
        return "is a link, which is not followed in an archive; pack the file itself"
    if member.flag_bits & 0x1:
        return "is encrypted; pack it without a password"
    return None


class _WithAnyNames(io.FileIO):
    """An archive file whose wrong UTF-8 flags are cleared as it is read.

    zipfile would refuse to open an archive with a name that claims to be UTF-8 and is not. Without the
    flag it takes every byte of the name for a character.
    """

    def __init__(self, place: Path):
        super().__init__(place)
        self._wrong: list[int] = []
        lying = _flags_that_lie(self)
        self._wrong, self._members = [at for _, at in lying], [member for member, _ in lying]
        self.seek(0)

    def mend_members(self, listed: Sequence[zipfile.ZipInfo]) -> None:
        """Clears the flag before each member too, where it stands once more."""
        self._wrong += [listed[member].header_offset + 7 for member in self._members]

    def read(self, size: int = -1) -> bytes:
        start = self.tell()
        data = super().read(size)
        inside = [at - start for at in self._wrong if start <= at < start + len(data)]
        if inside:
            changed = bytearray(data)
            for at in inside:
                changed[at] &= ~(UTF8 >> 8) & 0xFF
            data = bytes(changed)
        return data


def _flags_that_lie(file: io.FileIO) -> list[tuple[int, int]]:
    """Finds members whose names claim to be UTF-8 and are not: (member, position of its flags' second
    byte).

    Raises GalleryError when there are more than MEMBERS.
    """
    size = file.seek(0, io.SEEK_END)
    start_of_tail = file.seek(max(0, size - 65_557))  # the end record and the longest comment
    tail = file.read()
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) < end + 22:
        return []  # zipfile says what is wrong
    (length,) = struct.unpack("<L", tail[end + 12 : end + 16])
    finish = start_of_tail + end
    if (locator := tail[max(0, end - 20) : end]).startswith(b"PK\x06\x07"):
        file.seek(struct.unpack("<Q", locator[8:16])[0])
        if (record := file.read(56)).startswith(b"PK\x06\x06"):
            (length,) = struct.unpack("<Q", record[40:48])
            finish -= 76
    begin = max(0, finish - length)  # zipfile goes by the length too: something may stand before the archive
    file.seek(begin)
    listed, found, at, count = file.read(length), [], 0, 0
    while listed[at : at + 4] == b"PK\x01\x02" and len(listed) >= at + 46:
        (flags,) = struct.unpack("<H", listed[at + 8 : at + 10])
        name, extra, comment = struct.unpack("<HHH", listed[at + 28 : at + 34])
        if flags & UTF8 and not _is_utf8(listed[at + 46 : at + 46 + name]):
            found.append((count, begin + at + 9))
        at += 46 + name + extra + comment
        count += 1
        if count > MEMBERS:
            raise GalleryError(f"the archive has over {MEMBERS:,} files; give the folder, or pack it in two")
    return found


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


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
"""Suffixes of picture files. A file with one of them that cannot be read is reported."""
FILE_BYTES = 100_000_000
"""The most bytes of one picture file."""


@dataclass(frozen=True)
class Source:
    """A file in a folder or an archive.

    Attributes:
        container: the folder or archive.
        name: its path in there, with forward slashes.
        member: its position in an archive, where two members may have one name.
        problem: why it cannot be read, if that is known already.
    """

    container: Path
    name: str
    member: int | None = None
    problem: str | None = None

    @property
    def path(self) -> Path | None:
        """The file's path; None if it is part of an archive."""
        return None if self.container.is_file() else self.container / self.name

    def absolute(self) -> Source:
        """This picture's file by its absolute path, for processes in other working directories."""
        return replace(self, container=self.container.absolute())

    def read(self, most: int | None = None) -> bytes:
        """Reads the file, or its first `most` bytes.

        Raises MediaError where it cannot be read, and where it has more than FILE_BYTES.
        """
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
            reason = shown(str(error) or type(error).__name__)
            raise MediaError(f"{name} cannot be read ({reason:.200}); save it anew") from error
        if most is None and len(data) > FILE_BYTES:
            raise MediaError(f"{name} has more than {FILE_BYTES:,} bytes; make it smaller")
        return data


def find_files(place: Path) -> list[Source]:
    """The files of a folder and its subfolders, or of a ZIP archive, ordered by name.

    Links to files and folders are followed. What cannot be read (a broken link, a link back to a
    folder around it, a device, a folder without permission) is in the list with its problem. Nothing
    is unpacked to disk.

    Raises GalleryError when the place does not exist, and for an archive that is damaged, a bomb, or
    has names that lead out of it.
    """
    place = Path(place)
    if os.path.isdir(place):  # `Path.is_dir` would raise where a name is too long
        return sorted(_walk(place), key=_by_name)
    if not os.path.exists(place):
        raise GalleryError(f"there is no {shown(str(place))}; name a folder of pictures or a ZIP archive")
    members = [Source(place, member.filename, at, problem) for at, member, problem in members_of(place)]
    return sorted(members, key=_by_name)


def pictures_of(files: Sequence[Source]) -> list[Source]:
    """The files whose suffix is a picture's, and folders that cannot be listed."""
    return [file for file in files if _suffix(file) in SUFFIXES or file.name.endswith("/")]


def _walk(root: Path) -> Iterator[Source]:
    """Yields the files below a folder in no particular order, and each folder once, however many links
    lead to it."""
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
                yield Source(root, name, problem="is not a regular file; leave it out")
            elif (real := os.path.realpath(entry.path)) in above:
                yield Source(root, f"{name}/", problem="is a link back to a folder around it; leave it out")
            else:
                (linked if entry.is_symlink() else folders).append((f"{name}/", (*above, real)))


def _of_link(entry: os.DirEntry, error: OSError) -> str:
    if entry.is_symlink():
        return f"is a link that leads nowhere ({error.strerror}); mend or remove it"
    return f"cannot be read ({error.strerror}); see who may"


def read_regular(path: Path, most: int = FILE_BYTES) -> bytes:
    """Reads at most `most` bytes of a regular file.

    Raises MediaError for anything else, and OSError as `open` does.
    """
    # what was a file when it was found may be a pipe by now, which would never end
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise MediaError(f"{shown(path.name)} is not a regular file; leave it out")
        return file.read(most)


def _suffix(file: Source) -> str:
    return PurePosixPath(file.name).suffix.lower()


def _by_name(source: Source) -> str:
    return source.name
