"""Small picture files that say very much before their pixels: bounded in time and in memory."""

import struct
import zlib

import pytest
from PIL import Image, TiffImagePlugin

from palm_demo.errors import MediaError
from palm_demo.media import decoders, is_video, open_image, open_medium
from palm_demo.media.decoders import DECODERS, MOST_SEGMENTS
from palm_demo.media.kinds import DEFAULT_LIMITS
from tests.media_files import encoded, red_over_blue

BLANK = {256: (4, 64), 257: (4, 64), 258: (3, 8), 259: (3, 1), 262: (3, 1), 277: (3, 1)}
"""A gray TIFF of 64 x 64: tag -> type and value."""
UNDEFINED, LONG = 7, 4


def directory(tags: dict[int, tuple]) -> bytes:
    """A directory of a TIFF: tag -> type, count where it is not 1, and the value or its place."""
    entries = [struct.pack("<HHII", tag, kind, *(rest if len(rest) == 2 else (1, *rest)))
               for tag, (kind, *rest) in sorted(tags.items())]  # fmt: skip
    return struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", 0)


def overlapping(tags: dict[int, tuple], count: int, size_bytes: int = 20_000) -> bytes:
    """A TIFF with many further tags, each of which is the rest of the file."""
    many = {40_000 + place: (UNDEFINED, size_bytes, 8) for place in range(count)}
    return b"II*\0" + struct.pack("<I", 8) + directory(tags | many) + bytes(size_bytes)


def test_tags_that_hold_the_same_bytes_again_and_again_are_refused():
    pixels = {273: (LONG, 8), 278: (LONG, 64), 279: (LONG, 64 * 64)}
    assert open_image(overlapping(BLANK | pixels, 1)).size == (64, 64)
    with pytest.raises(MediaError, match=r"its tags hold more bytes than it has\); save it anew"):
        open_image(overlapping(BLANK | pixels, 100))


def test_tags_of_a_directory_within_a_tiff_are_bounded_too():
    outer = directory(BLANK | {273: (LONG, 8), 278: (LONG, 64), 279: (LONG, 64 * 64), 34_665: (LONG, 400)})
    inner = directory({40_000 + place: (UNDEFINED, 20_000, 8) for place in range(100)})
    start = b"II*\0" + struct.pack("<I", 8) + outer
    data = start + bytes(400 - len(start)) + inner + bytes(20_000)
    with pytest.raises(MediaError, match="its tags hold more bytes than it has"):
        open_image(data)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF", "HEIF", "JPEG"])
def test_exif_of_any_picture_is_bounded(kind, monkeypatch):
    with monkeypatch.context() as patch:  # Pillow reads the tags when it writes them, too
        patch.setattr(TiffImagePlugin, "ImageFileDirectory_v2", decoders.BoundedDirectory.__base__)
        data = encoded(red_over_blue(), kind, exif=b"Exif\0\0" + overlapping({}, 100))
    read, load = [], decoders.BoundedDirectory.load
    monkeypatch.setattr(
        decoders.BoundedDirectory, "load", lambda self, file: (read.append(self), load(self, file))
    )
    if kind == "AVIF":  # its decoder reads the tags before the size
        with pytest.raises(MediaError, match="its tags hold more bytes than it has"):
            open_image(data)
    else:
        assert open_image(data).size == (40, 60)
    assert read and all(sum(map(len, tags._tagdata.values())) <= 50_000 for tags in read)


def test_a_comment_of_very_many_blocks_is_not_put_together():
    picture = encoded(red_over_blue(), "GIF", comment=b"first")
    behind = picture.index(b"!\xfe")
    data = picture[:behind] + b"!\xfe" + b"\1\xfe" * 20_000 + b"\0" + picture[behind:]
    for one in (picture, data):
        with_comments = open_image(one)
        assert with_comments.size == (40, 60) and with_comments.getpixel((5, 5)) == (255, 0, 0)
        assert not is_video(one)


def test_an_animation_with_comments_keeps_its_frames():
    frames = [Image.new("L", (16, 16), 40 * shade) for shade in range(6)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], comment=b"c" * 700, duration=40)
    assert b"!\xfe" in data and is_video(data)
    assert len(open_medium(data, 8, DEFAULT_LIMITS)) == 6


def test_a_jpeg_of_very_many_segments_is_refused():
    picture = encoded(red_over_blue(), "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", 18) + b"Exif\0\0" + b"x" * 10
    assert open_image(picture[:2] + segment * (MOST_SEGMENTS - 20) + picture[2:]).size == (40, 60)
    for many in (segment, b"\xff\xfe\0\2"):
        with pytest.raises(MediaError, match="cut into very many pieces"):
            open_image(picture[:2] + many * 2 * MOST_SEGMENTS + picture[2:])


def test_a_png_of_very_many_chunks_is_refused(monkeypatch):
    monkeypatch.setattr(decoders, "MOST_READS", 5000)
    picture = encoded(red_over_blue())
    chunk = struct.pack(">I", 0) + b"prVt" + struct.pack(">I", zlib.crc32(b"prVt"))
    assert open_image(picture[:33] + chunk * 1000 + picture[33:]).size == (40, 60)
    with pytest.raises(MediaError, match="cut into very many pieces"):
        open_image(picture[:33] + chunk * 6000 + picture[33:])


@pytest.mark.parametrize(
    "piece", [{322: (LONG, 40_000), 323: (LONG, 40_000)}, {322: (LONG, 2**31), 323: (LONG, 1)}]
)
def test_a_tiff_in_pieces_larger_than_may_be_decoded_is_refused(piece, monkeypatch):
    packed = zlib.compress(bytes(1000))
    tags = BLANK | piece | {259: (3, 8), 324: (LONG, 200), 325: (LONG, len(packed))}
    data = b"II*\0" + struct.pack("<I", 8) + directory(tags)
    monkeypatch.setattr(TiffImagePlugin.TiffImageFile, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(MediaError, match=r"a piece of the file has [\d,.e+]+ megapixels"):
        open_image(data + bytes(200 - len(data)) + packed)


def test_every_decoder_is_still_called_by_pillows_name():
    for kind in DECODERS.keys() - {"HEIF", "AVIF"}:
        assert open_image(encoded(red_over_blue(), kind)).size == (40, 60)
