"""ZIP archives of pictures, read member by member: nothing is unpacked to disk, and one bad member is one."""

from __future__ import annotations

import io
import re
import stat
import struct
import zipfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath

from palm_demo.errors import GalleryError, MediaError, PalmDemoError

MEMBERS = 1_000_000
"""How many members one archive may have: their list is read before anything else is known."""
ARCHIVE_RATIO, ARCHIVE_BYTES = 100, 1_000_000_000
"""An archive that would unpack to more bytes than the latter and to more than the former times its own
size is a bomb: picture files hardly shrink."""
UTF8 = 0x800
"""The flag of a member whose name is said to be UTF-8."""


def members_of(place: Path) -> list[tuple[int, zipfile.ZipInfo, str | None]]:
    """Place in the archive, what is known, and why it cannot be read if that is known, of each file.

    Raises GalleryError for what is no archive, for a bomb, and for names that lead out of it.
    """
    try:
        archive, packed = opened(place), place.stat().st_size
    except (PalmDemoError, MemoryError):
        raise
    except Exception as error:  # a damaged list of members fails in many ways
        raise GalleryError(f"{place} is no folder and no ZIP archive ({error}); name one of these") from error
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
    """At most so many bytes of a member. at: its place, where several have this name. Raises MediaError where
    the archive is another by now."""
    archive = opened(place)
    members = archive.infolist() if at is not None else [archive.NameToInfo.get(name)]
    member = members[at or 0] if (at or 0) < len(members) else None
    if member is None or member.filename != name:
        raise MediaError(f"{place.name} is not the archive any more that it was; add it again")
    with archive.open(member) as file:
        return file.read(most)


def opened(place: Path) -> zipfile.ZipFile:
    """The archive that lies there now; it stays open until another is asked for."""
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
    """An archive in which names that are said to be UTF-8 and are not are taken as zipfile takes those
    without that flag, in which every byte is a letter. It would not open the archive at all otherwise."""

    def __init__(self, place: Path):
        super().__init__(place)
        self._wrong: list[int] = []
        lying = _flags_that_lie(self)
        self._wrong, self._members = [at for _, at in lying], [member for member, _ in lying]
        self.seek(0)

    def mend_members(self, listed: Sequence[zipfile.ZipInfo]) -> None:
        """The flag stands in the list of members and before each member."""
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
    """The members whose names are said to be UTF-8 and are not, each with where the second byte of its flags
    stands in the list of members.

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
