"""Opens containers of videos with FFmpeg, after a check that their index is no larger than a video's."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import av
from av.container import InputContainer

from palm_demo.errors import MediaError
from palm_demo.media.kinds import Kind

MOST_PACKETS = 200_000
"""The most packets of a file, all streams together. A minute at 60 frames a second with sound has about
7,000."""

PIECE_BYTES = 8_000_000
LARGE_SIZE = 1
"""The size of a box of an MP4 whose true size stands behind its name, in eight bytes."""
BOXES = (b"stsz", b"trun", b"cmov")
"""Boxes with an index, and that of a compressed one. FFmpeg finds them in most other boxes."""
BEFORE, BEHIND = 4, 24
"""Bytes before the name of a box, its size, and from the name to the end of what is looked at."""


@contextmanager
def opened_container(file: BinaryIO, name: str, kind: Kind) -> Iterator[InputContainer]:
    """Opens a container from the beginning of a file.

    Raises MediaError if its index lists too many packets, and what `av.open` raises.
    """
    if kind.reader == "mov":
        _check_index(file, name)
    file.seek(0)
    with av.open(file, format=kind.reader, metadata_errors="ignore") as container:
        yield container


def _check_index(file: BinaryIO, name: str) -> None:
    """Raises MediaError if an MP4 claims to have very many packets.

    A number of packets of one size takes four bytes, whatever it is, and FFmpeg builds the whole index when
    it opens the file.
    """
    size_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    rest = b""
    while piece := file.read(PIECE_BYTES):
        is_last = file.tell() == size_bytes
        data = rest + piece + bytes(BEHIND * is_last)
        for box, at in _places(data):
            claimed = int.from_bytes(data[at - BEFORE : at], "big")
            if 1 < claimed < 8 or claimed > size_bytes:
                continue  # these letters are no name of a box, but happen to be in a picture
            if box == b"cmov":
                raise MediaError(f"the index of {name} is compressed; save it anew")
            place = at + (8 if claimed == LARGE_SIZE else 0) + (12 if box == b"stsz" else 8)
            packets = int.from_bytes(data[place : place + 4], "big")
            if packets > MOST_PACKETS:
                raise MediaError(
                    f"{name} claims to have {packets:,} packets and at most {MOST_PACKETS:,} are read; "
                    "save it anew"
                )
        rest = data[-(BEFORE + BEHIND - 1) :]


def _places(data: bytes) -> Iterator[tuple[bytes, int]]:
    """The names in data that may be those of BOXES, and their places."""
    for box in BOXES:
        at = data.find(box, BEFORE)
        while 0 <= at <= len(data) - BEHIND:
            yield box, at
            at = data.find(box, at + 1)
