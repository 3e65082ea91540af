"""Picture files of odd sizes and formats: shrunk, read, or refused with what would help."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from palm_demo.errors import MediaError
from palm_demo.media import MediaLimits, is_video, kind_of, open_image, open_medium
from palm_demo.media.decoders import DECODERS
from tests.media_files import BLUE, RED, blank_png, encoded, red_over_blue, swapped_profile


@pytest.mark.parametrize("size", [(1, 192), (192, 1), (1, 1), (1, 60_000), (60_000, 1)])
def test_thin_pictures_keep_a_pixel(size):
    assert open_image(Image.new("RGB", size)).size == size
    assert open_image(Image.new("RGB", size), max_side=64).size == tuple(min(64, side) for side in size)
    small = open_image(Image.new("RGB", size), MediaLimits(pixels=1000))
    assert min(small.size) >= 1 and small.width * small.height <= 1000


def test_a_thin_picture_on_its_side_keeps_the_limits_too():
    exif = Image.Exif()
    exif[0x0112] = 6
    small = open_image(encoded(Image.new("P", (60_000, 1)), exif=exif), MediaLimits(pixels=1000))
    assert small.size == (1, 1000)


def test_a_phones_photograph_is_shrunk_while_it_is_decoded(monkeypatch):
    data = encoded(Image.new("RGB", (8064, 6048), BLUE), "JPEG")
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "reduce", lambda *_: pytest.fail("decoded in full"))
        image = open_image(data)
    assert image.size == (4032, 3024) and np.allclose(image.getpixel((9, 9)), BLUE, atol=8)
    assert open_image(data, max_side=512).size == (512, 384)


def test_a_progressive_jpeg_is_held_to_what_may_be_decoded_at_once():
    limits = MediaLimits(pixels=10_000, read_pixels=40_000)
    image = Image.new("RGB", (400, 300))
    assert open_image(encoded(image, "JPEG"), limits).size == (100, 75)
    with pytest.raises(MediaError, match=r"0.12 megapixels .* at most 0.04"):
        open_image(encoded(image, "JPEG", progressive=True), limits)
    with pytest.raises(MediaError, match=r"0.12 megapixels .* at most 0.04"):
        open_image(encoded(image), limits)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF", "HEIF", "TIFF", "BMP", "GIF"])
def test_a_picture_is_shrunk_to_a_side_whatever_it_is(kind):
    data = encoded(red_over_blue().resize((400, 600), Image.Resampling.NEAREST), kind)
    image = open_image(data, max_side=60)
    assert image.size == (40, 60)
    assert np.allclose(image.getpixel((20, 10)), RED, atol=12)


def test_shrinking_keeps_what_is_said_of_the_picture():
    exif = Image.Exif()
    exif[0x0112] = 6
    swapped = Image.merge("RGB", red_over_blue().resize((400, 600)).split()[::-1]).rotate(90, expand=True)
    data = encoded(swapped, exif=exif, icc_profile=swapped_profile())
    image = open_image(data, MediaLimits(pixels=20_000))
    assert image.width < image.height and np.allclose(image.getpixel((50, 10)), RED, atol=12)


# formats


def test_a_tiff_of_very_many_pages_is_its_first_page():
    page = encoded(red_over_blue(), "TIFF")
    (first,) = struct.unpack("<I", page[4:8])
    (entries,) = struct.unpack("<H", page[first : first + 2])
    link = first + 2 + 12 * entries
    empty = len(page) + len(page) % 2
    chain = b"".join(struct.pack("<HI", 0, empty + 6 * place) for place in range(1, 150_000))
    data = bytearray(page.ljust(empty, b"\0"))
    data[link : link + 4] = struct.pack("<I", empty)
    data += chain
    reads = []

    class Counted(BytesIO):
        def read(self, *size):
            reads.append(size)
            return super().read(*size)

    image = open_image(Counted(bytes(data)))
    assert image.size == (40, 60) and image.getpixel((20, 10)) == RED
    assert not is_video(Counted(bytes(data)))
    assert len(open_medium(Counted(bytes(data)), 8, MediaLimits())) == 1
    assert len(reads) < 1000


def test_an_svg_is_told_what_it_is_and_what_to_do():
    for data in (b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"<?xml version='1.0'?>\n<SVG/>"):
        with pytest.raises(MediaError, match="SVG drawing; save it as a PNG"):
            open_image(data)


@pytest.mark.parametrize(
    "data", [b"", b"BMW is no bitmap" * 40, b"\xff\xd8", b"RIFF....WAVE" * 60, b"%PDF-1.7" * 80]
)
def test_other_files_are_told_which_formats_are_read(data):
    with pytest.raises(MediaError, match=r"is not a picture.*(HEIC or AVIF, videos MP4|empty)"):
        open_image(data)
    with pytest.raises(MediaError, match=r"is not a picture.*(HEIC or AVIF, videos MP4|empty)"):
        open_medium(data, 8, MediaLimits())
    assert not is_video(data)


def test_pictures_and_videos_of_one_container_are_told_apart():
    for major, name in {
        b"heic": "HEIC",
        b"mif1": "HEIC",
        b"avif": "AVIF",
        b"isom": "MP4",
        b"qt  ": "MP4",
    }.items():
        kind = kind_of(struct.pack(">I", 20) + b"ftyp" + major + b"\0\0\0\0" + major)
        assert kind.name == name and kind.moving == (name == "MP4")
    assert kind_of(struct.pack(">I", 24) + b"ftypmif1\0\0\0\0mif1avif").name == "AVIF"


def test_a_bomb_in_a_chunk_of_text_is_refused():
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    plain = encoded(red_over_blue())
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 100_000_000, 9))
    with pytest.raises(MediaError, match="damaged"):
        open_image(plain[:33] + text + plain[33:])


def test_a_jpeg_of_very_many_scans_is_refused_before_they_are_decoded():
    """Each scan costs a pass over all pixels and takes some thirty bytes."""
    once = encoded(Image.new("L", (64, 64), 128), "JPEG", progressive=True)
    scan = once.rindex(b"\xff\xda")
    often = once[:scan] + once[scan:-2] * 100 + once[-2:]
    few = MediaLimits(read_pixels=64 * 64)
    assert open_image(once, few).size == (64, 64)
    with pytest.raises(MediaError, match="scans, which take too long"):
        open_image(often, few)
    assert open_image(often, MediaLimits(read_pixels=640 * 640)).size == (64, 64)


@pytest.mark.parametrize("trailer", [b"\xff\xda" * 1000, b""])
def test_what_stands_behind_a_jpeg_or_in_its_segments_is_no_scan(trailer):
    """As phones put a film behind a photograph, and a smaller picture into its metadata."""
    picture = red_over_blue()
    data = encoded(picture, "JPEG", progressive=True, exif=b"Exif\0\0" + b"\xff\xda" * 1000)
    limits = MediaLimits(read_pixels=picture.width * picture.height)
    assert open_image(data + trailer, limits).size == picture.size


def test_large_pictures_are_still_refused_as_bombs(tmp_path):
    with pytest.raises(MediaError, match=r"900 megapixels .* at most 64"):
        open_image(blank_png(tmp_path / "bomb.png", 30_000, 30_000))


@pytest.mark.parametrize("large", [False, True])
def test_a_tiff_of_very_many_tags_is_refused_before_they_are_read(large, monkeypatch):
    if large:
        head, entry = struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, 5000), struct.pack("<HHQQ", 60000, 4, 1, 7)
    else:
        head, entry = struct.pack("<2sHIH", b"II", 42, 8, 5000), struct.pack("<HHII", 60000, 4, 1, 7)
    monkeypatch.setitem(DECODERS, "TIFF", lambda file: pytest.fail("read"))
    with pytest.raises(MediaError, match=r"the file has 5,000 tags and at most 4,096 are read; save it anew"):
        open_image(head + entry * 5000)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_whose_least_value_is_white_is_not_seen_as_its_negative(bits):
    ramp = np.linspace(0, 2**bits - 1, 64).astype(np.uint8 if bits == 8 else np.uint16)[None]
    data = bytearray(encoded(Image.fromarray(ramp), "TIFF"))
    (first,) = struct.unpack("<I", data[4:8])
    (entries,) = struct.unpack("<H", data[first : first + 2])
    for place in range(first + 2, first + 2 + 12 * entries, 12):
        if data[place : place + 2] == struct.pack("<H", 262):
            data[place + 8 : place + 10] = b"\0\0"
    assert np.allclose(np.asarray(open_image(bytes(data)))[0, :, 0], np.linspace(255, 0, 64), atol=2)
