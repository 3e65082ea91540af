"""Recognises a file's format by its first bytes, and limits how much of it may be decoded."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from palm_demo.concurrency import check_still_there
from palm_demo.errors import MediaError

FORMATS = (
    "pictures are PNG, JPEG, WebP, BMP, GIF, TIFF, HEIC or AVIF, "
    "videos MP4, MOV, WebM, MKV, AVI, OGG, MPEG, TS or FLV"
)
"""The formats that are read, as error messages list them."""

HEAD_BYTES = 600
"""Bytes that are enough to recognise any format: three packets of an MPEG transport stream."""


@dataclass(frozen=True)
class Kind:
    """A file format.

    Attributes:
        name: as people call it.
        reader: as Pillow or FFmpeg calls it.
        moving: whether it is a video format. A picture format may be animated all the same.
    """

    name: str
    reader: str
    moving: bool = False


@dataclass(frozen=True)
class MediaLimits:
    """Limits on media and on the work of reading them.

    Attributes:
        pixels: of a returned picture or frame; larger pictures are shrunk to them.
        video_seconds: the length of one video.
        read_pixels: decoded at once in order to be shrunk; a picture with more is refused.
        decoded_frames, decoded_pixels, decoding_seconds: for all videos and animations of one request.
    """

    pixels: int = 25_000_000
    video_seconds: float = 60.0
    read_pixels: int = 64_000_000
    decoded_frames: int = 10_000
    decoded_pixels: int = 6_000_000_000
    decoding_seconds: float = 20.0


DEFAULT_LIMITS = MediaLimits()
"""The limits that hold unless the caller gives others."""


class DecodingBudget:
    """What one request may still decode. Its media are decoded one after another."""

    def __init__(self, limits: MediaLimits):
        self.limits = limits
        self._frames = self._pixels = 0
        self._seconds = 0.0
        self._began: float | None = None

    @contextmanager
    def decoding(self) -> Iterator[None]:
        """Counts the time inside the `with`. Time between two media, when others may compute, does not
        count."""
        self._began = time.monotonic()
        try:
            yield
        finally:
            self._seconds += time.monotonic() - self._began
            self._began = None

    def spend(self, name: str, width: int, height: int) -> None:
        """Counts a frame of a file. Raises MediaError when it is too large or the budget is used up."""
        check_pixels(f"a frame of {name}", width, height, self.limits.pixels)
        self._frames += 1
        self._pixels += width * height
        for spent, most, unit in (
            (self._frames, self.limits.decoded_frames, "frames"),
            (self._pixels, self.limits.decoded_pixels, "pixels"),
        ):
            if spent > most:
                raise MediaError(
                    f"{name} takes more decoding than a request may have, {most:,} {unit}; cut it shorter, "
                    "make it smaller, or save it with a key frame every second"
                )
        self.check_time(name)

    def check_time(self, name: str) -> None:
        """Raises MediaError when the time is used up, and LeftError when the visitor has left."""
        check_still_there()
        now = time.monotonic()
        if self._seconds + now - (now if self._began is None else self._began) > self.limits.decoding_seconds:
            raise MediaError(
                f"{name} takes more than {self.limits.decoding_seconds:g} seconds of decoding; cut it "
                "shorter or make it smaller"
            )


def check_pixels(what: str, width: int, height: int, most: int) -> None:
    """Raises MediaError for a picture without pixels or with more than `most`."""
    if width * height > most:
        raise MediaError(
            f"{what} has {width * height / 1e6:.3g} megapixels ({width} × {height}); at most "
            f"{most / 1e6:g} can be read, make it smaller"
        )
    if width < 1 or height < 1:
        raise MediaError(f"{what} has no pixels ({width} × {height}); give one with both sides of 1 or more")


_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_AVIF = {b"avif", b"avis"}
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
_MP4, _MATROSKA, _MPEG = Kind("MP4", "mov", True), Kind("MKV", "matroska", True), Kind("MPEG", "mpeg", True)


def kind_of(head: bytes) -> Kind | None:
    """The format of a file with these first bytes (HEAD_BYTES are enough); None if it is not one that is
    read."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return Kind("PNG", "PNG")
    if head.startswith(b"\xff\xd8\xff"):
        return Kind("JPEG", "JPEG")
    if head.startswith((b"GIF87a", b"GIF89a")):
        return Kind("GIF", "GIF")
    if head.startswith(b"RIFF") and head[8:12] in (b"WEBP", b"AVI "):
        return Kind("WebP", "WEBP") if head[8:12] == b"WEBP" else Kind("AVI", "avi", True)
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return Kind("TIFF", "TIFF")
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return Kind("BMP", "BMP")
    if head[4:8] == b"ftyp":
        return _of_brands(head)
    if head[4:8] in (b"moov", b"mdat", b"free", b"wide", b"skip"):
        return _MP4
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return _MATROSKA
    if head.startswith(b"OggS"):
        return Kind("OGG", "ogg", True)
    if head.startswith(b"FLV\x01"):
        return Kind("FLV", "flv", True)
    if head.startswith((b"\0\0\x01\xba", b"\0\0\x01\xb3")):
        return _MPEG if head[3] == 0xBA else Kind("MPEG", "mpegvideo", True)
    for before, size in ((0, 188), (4, 192)):  # the second has a time before each packet, as cameras write it
        marks = head[before::size][:3]
        if len(marks) == 3 and set(marks) == {0x47}:
            return Kind("TS", "mpegts", True)
    return None


def _of_brands(head: bytes) -> Kind:
    """Tells pictures from videos in an ISO container (`ftyp`), by its first brand or one of the others."""
    size = min(int.from_bytes(head[:4], "big"), len(head))
    major, others = head[8:12], {head[place : place + 4] for place in range(16, size, 4)}
    if major in _AVIF or (major in (b"mif1", b"msf1") and others & _AVIF):
        return Kind("AVIF", "AVIF")
    return Kind("HEIC", "HEIF") if major in _HEIC else _MP4


def unread(name: str, head: bytes, wanted: str) -> MediaError:
    """The error for a file that is not a picture or video, or whose format is not read.

    `wanted` is "picture" or "video".
    """
    if not head:
        return MediaError(f"{name} is not a {wanted}: it is empty; choose another file")
    if b"<svg" in head.lower():
        return MediaError(f"{name} is not a {wanted} that is read but an SVG drawing; save it as a PNG")
    return MediaError(f"{name} is not a {wanted} that is read: {FORMATS}")


@contextmanager
def opened(source: str | Path | bytes | BinaryIO) -> Iterator[tuple[BinaryIO, str]]:
    """Opens a file at its beginning, and yields it with the name that messages call it.

    Only regular files of this machine are opened; a name is never taken for an address. Raises
    MediaError where there is none, or it cannot be read.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        yield BytesIO(source), "the file"
        return
    if not isinstance(source, (str, Path)):
        name = Path(str(getattr(source, "name", "") or "the file")).name
        _check_open(source, name)
        yield source, name
        return
    name = f"{Path(source).name:.80}" or "the file"
    try:
        file = _regular(source, name)
    except FileNotFoundError as error:
        raise MediaError(f"there is no file {name}") from error
    except (OSError, ValueError) as error:  # a name with a NUL or half a surrogate is a ValueError
        if isinstance(error, MediaError):
            raise
        why = getattr(error, "strerror", None) or "its name cannot be used here"
        raise MediaError(f"{name!r} cannot be read ({why}); choose another file") from error
    with file:
        yield file, name


def _check_open(file: BinaryIO, name: str) -> None:
    """Raises MediaError for an open file that cannot be read as bytes from its beginning."""
    try:
        file.seek(0)
        is_binary = isinstance(file.read(0), bytes)
    except (OSError, ValueError) as error:  # it is closed, a pipe, or only open for writing
        raise MediaError(f"{name} cannot be read ({error}); give its path or its bytes") from error
    if not is_binary:
        raise MediaError(f'{name} is open as text; open it with mode "rb"')


def _regular(path: str | Path, name: str) -> BinaryIO:
    """Opens a regular file, checked beforehand: merely opening a pipe blocks, and opening a device may
    change it."""

    def refuse_others(mode: int) -> None:
        if not stat.S_ISREG(mode):
            raise MediaError(f"{name} is not a file but a folder, device or pipe; choose a picture or video")

    refuse_others(os.stat(path).st_mode)
    waitless = getattr(os, "O_NONBLOCK", 0)
    file = open(path, "rb", opener=lambda where, flags: os.open(where, flags | waitless))  # noqa: SIM115
    try:
        refuse_others(os.fstat(file.fileno()).st_mode)  # it may have been exchanged in between
    except MediaError:
        file.close()
        raise
    return file


def head_of(file: BinaryIO) -> bytes:
    """Reads a file's first bytes and rewinds it."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    file.seek(0)
    return head
