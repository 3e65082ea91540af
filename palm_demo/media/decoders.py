"""Pillow's decoders, with limits on the work of reading what a file says before its pixels.

Pillow reads such data block by block in Python, keeps all of it, and has few limits of its own. A small
file could take minutes (millions of blocks of one byte) or gigabytes (a thousand tags, each of which is
the whole file).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import BinaryIO

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from pillow_heif import HeifImageFile

from palm_demo.errors import MediaError

MOST_SEGMENTS = 500
"""The most segments of a JPEG before its first scan; where some are empty, there may be a few more. A file
of 20 MB has at most 305 that are full, which is what those that hold a second picture have."""
READS_OF_SEGMENT = 4
MOST_READS, BYTES_OF_READ = 300_000, 32
"""How often a file of any other kind may be read from: so many times, and once more for each 32 bytes of it.
A GIF is read twice for 255 bytes, a PNG three times for 8,192."""
MOST_TAGS = 4096
"""The most tags of a TIFF's page. Cameras and microscopes write some hundred."""
SLACK_BYTES = 4096
COMMENT = b"\xfe"
"""The label of a GIF's comment."""


class MeteredFile:
    """A file that may be read from a number of times, and to a number of bytes.

    Attributes:
        last: what was read last.
    """

    def __init__(self, file: BinaryIO, reads: int, size_bytes: int | None = None):
        self._file, self._reads, self._bytes = file, reads, size_bytes
        self.last = b""

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def read(self, size: int = -1) -> bytes:
        """Reads as a file does. Raises SyntaxError, as Pillow does for damaged files, at the limits."""
        self._reads -= 1
        self.last = self._file.read(size)
        if self._reads < 0:
            raise SyntaxError("it is cut into very many pieces")
        if self._bytes is not None:
            self._bytes -= len(self.last)
            if self._bytes < 0:
                raise SyntaxError("its tags hold more bytes than it has")
        return self.last


class BoundedDirectory(TiffImagePlugin.ImageFileDirectory_v2):
    """Tags of a TIFF, or of another picture's EXIF, that have no more bytes together than the file has.

    They may have twice as many, because writers let tags of the same value share its place.
    """

    def load(self, fp: BinaryIO) -> None:
        """Reads the tags. Raises SyntaxError if they have more bytes."""
        super().load(MeteredFile(fp, MOST_READS, SLACK_BYTES + 2 * _size_bytes(fp)))


# each decoder, also pillow_heif's, looks here for the class when it reads tags
TiffImagePlugin.ImageFileDirectory_v2 = BoundedDirectory


class GifFile(GifImagePlugin.GifImageFile):
    """A GIF without its comments, whose blocks Pillow would put together at a cost that grows with their
    square."""

    def data(self) -> bytes | None:
        """The next block; None at the end of a chain of blocks, and for a comment, which is skipped."""
        if self.fp.last != COMMENT:
            return super().data()
        while super().data():
            pass
        return None


def _jpeg(file: BinaryIO) -> Image.Image:
    image = JpegImagePlugin.JpegImageFile(MeteredFile(file, READS_OF_SEGMENT * MOST_SEGMENTS))
    image.fp = file
    return image


def _metered(decoder: Callable[[BinaryIO], Image.Image]) -> Callable[[BinaryIO], Image.Image]:
    def decode(file: BinaryIO) -> Image.Image:
        return decoder(MeteredFile(file, MOST_READS + _size_bytes(file) // BYTES_OF_READ))

    return decode


DECODERS: dict[str, Callable[[BinaryIO], Image.Image]] = {
    "PNG": _metered(PngImagePlugin.PngImageFile),
    "JPEG": _jpeg,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "GIF": _metered(GifFile),
    "TIFF": TiffImagePlugin.TiffImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
    "HEIF": HeifImageFile,
}
"""Decoders by Pillow's names. `Image.open` would try others too, and would refuse a phone's large pictures
before they can be shrunk."""


def check_tags(file: BinaryIO, name: str) -> None:
    """Raises MediaError where the first page of a TIFF has very many tags, all of which are read before its
    size."""
    head = file.read(16)
    order, is_big = ("big" if head.startswith(b"MM") else "little"), 43 in head[2:4]
    file.seek(int.from_bytes(head[8:16] if is_big else head[4:8], order))
    count = int.from_bytes(file.read(8 if is_big else 2), order)
    if count > MOST_TAGS:
        raise MediaError(f"{name} has {count:,} tags and at most {MOST_TAGS:,} are read; save it anew")
    file.seek(0)


def tile_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of the pieces in which a TIFF is decoded, which may be larger than the picture."""
    tags = image.tag_v2
    rows = min(tags.get(TiffImagePlugin.ROWSPERSTRIP, image.height), image.height)
    return tags.get(TILE_WIDTH, image.width), tags.get(TILE_HEIGHT, rows)


TILE_WIDTH, TILE_HEIGHT = 322, 323


def _size_bytes(file: BinaryIO) -> int:
    place = file.tell()
    size_bytes = file.seek(0, os.SEEK_END)
    file.seek(place)
    return size_bytes
