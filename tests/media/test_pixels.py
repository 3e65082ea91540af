"""One pixel path: what a picture shows is the same, whatever it is stored as and wherever it comes from."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from palm_demo.errors import MediaError
from palm_demo.media import MediaLimits, open_image, open_medium, to_rgb
from tests.media_files import BLUE, RED, encoded, red_over_blue, swapped_profile

WHITE = (255, 255, 255)


def drawings() -> dict[str, bytes]:
    """Files of which each shows red over blue in another way."""
    drawing = red_over_blue()
    exif = Image.Exif()
    exif[0x0112] = 6
    clear = drawing.convert("RGBA")
    clear.putpixel((0, 59), (0, 0, 0, 0))
    swapped = Image.merge("RGB", drawing.split()[::-1])
    return {
        "plain": encoded(drawing),
        "on its side": encoded(drawing.rotate(90, expand=True), exif=exif),
        "with a profile": encoded(swapped, icc_profile=swapped_profile()),
        "transparent": encoded(clear),
        "palette": encoded(drawing.quantize(4)),
        "jpeg": encoded(drawing, "JPEG", quality=95, subsampling=0),
        "webp": encoded(drawing, "WEBP", lossless=True),
        "gif": encoded(drawing, "GIF"),
        "bmp": encoded(drawing, "BMP"),
        "tiff": encoded(drawing, "TIFF"),
        "avif": encoded(drawing, "AVIF", quality=95),
        "heic": encoded(drawing, "HEIF", quality=95),
    }


@pytest.mark.parametrize("name", drawings())
def test_a_picture_is_the_same_from_path_bytes_file_and_memory(name, tmp_path):
    data = drawings()[name]
    (tmp_path / "a").write_bytes(data)
    first = open_image(tmp_path / "a")
    assert (first.mode, first.size) == ("RGB", (40, 60))
    assert np.allclose(first.getpixel((20, 10)), RED, atol=12)
    assert np.allclose(first.getpixel((20, 50)), BLUE, atol=12)
    pixels = np.asarray(first)
    sources = [str(tmp_path / "a"), data, bytearray(data), BytesIO(data), first, pixels, pixels / 255]
    sources += [torch.tensor(pixels).permute(2, 0, 1), torch.tensor(pixels).permute(2, 0, 1) / 255]
    with open(tmp_path / "a", "rb") as file:
        sources.append(file)
        if name != "heic":
            sources.append(Image.open(BytesIO(data)))
        for source in sources:
            assert np.array_equal(np.asarray(open_image(source)), pixels)
            assert np.array_equal(np.asarray(open_medium(source, 8, MediaLimits())[0]), pixels)


def test_what_a_picture_says_of_itself_is_used_once():
    for data in drawings().values():
        image = open_image(data)
        assert open_image(image) is image and open_image(image.copy()).tobytes() == image.tobytes()
        assert not {"exif", "icc_profile", "transparency"} & image.info.keys()


def test_a_picture_in_memory_is_not_changed():
    image = Image.open(BytesIO(drawings()["on its side"]))
    open_image(image)
    assert image.size == (60, 40) and image.getexif()[0x0112] == 6


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_is_none_turns_nothing(value):
    exif = Image.Exif()
    exif[0x0112] = value
    assert open_image(encoded(red_over_blue(), "JPEG", exif=exif.tobytes())).size == (40, 60)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0",  # cut off in the middle of the orientation
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x05\0\0\0\x01\0\0\xff\xff\0\0\0\0",  # from nowhere
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x02ab\0\0\0\0\0\0",  # text
        b"Exif\0\0nonsense nonsense",
    ],
)
def test_exif_that_is_broken_does_not_break_the_picture(kind, exif):
    image = open_image(encoded(red_over_blue(), kind, exif=exif))
    assert image.size == (40, 60) and np.allclose(image.getpixel((20, 10)), RED, atol=12)


@pytest.mark.parametrize(
    "profile", [b"", b"no profile", swapped_profile()[:200], swapped_profile()[:-100] * 2]
)
def test_a_profile_that_is_broken_is_no_profile(profile):
    image = red_over_blue()
    image.info["icc_profile"] = profile
    assert open_image(image).getpixel((20, 10)) == RED


def test_a_profile_for_other_colours_is_no_profile():
    image = Image.new("L", (4, 4), 99)
    image.info["icc_profile"] = swapped_profile()
    assert open_image(image).getpixel((0, 0)) == (99, 99, 99)


def test_a_profile_of_srgb_changes_nothing():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    assert open_image(encoded(noise, icc_profile=profile)).tobytes() == noise.tobytes()


def test_a_profile_applies_to_transparent_pictures_too():
    clear = Image.merge("RGB", red_over_blue().split()[::-1]).convert("RGBA")
    clear.putpixel((0, 0), (9, 9, 9, 0))
    image = open_image(encoded(clear, icc_profile=swapped_profile()))
    assert image.getpixel((0, 0)) == WHITE and np.allclose(image.getpixel((20, 10)), RED, atol=12)


# transparency


def half_clear(mode: str) -> Image.Image:
    """Two pixels: one that is not seen, black as it is stored, and a red or dark one."""
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (*RED, 255))
    if mode == "PA":
        alpha, image = image.getchannel("A"), image.convert("RGB").quantize(2)
        image.putalpha(alpha)
        return image
    return image.convert("LA").convert(mode) if mode == "La" else image.convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "La", "RGBa"])
def test_what_is_not_seen_is_white(mode):
    image = open_image(half_clear(mode))
    assert image.getpixel((0, 0)) == WHITE
    assert image.getpixel((1, 0)) == ((76, 76, 76) if mode in ("LA", "La") else RED)


@pytest.mark.parametrize(
    ("mode", "key"), [("RGB", (0, 0, 0)), ("L", 0), ("P", 0), ("P", b"\0\xff"), ("1", 0), ("I;16", 0)]
)
def test_a_colour_that_stands_for_nothing_is_white(mode, key):
    array = np.array([[0, 255]], dtype=np.uint8)
    image = Image.fromarray(array.astype(np.uint16) * 257 if mode == "I;16" else array)
    if mode == "P":
        image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), "P")
        image.putpalette([0, 0, 0, 0, 0, 0])
    elif mode != "I;16":
        image = image.convert(mode)
    opened = open_image(encoded(image, transparency=key))
    assert opened.getpixel((0, 0)) == WHITE
    assert opened.getpixel((1, 0)) == ((0, 0, 0) if mode == "P" else WHITE)


def test_premultiplied_colours_are_the_same_as_others():
    straight = Image.new("RGBA", (2, 2), (200, 100, 50, 128))
    assert np.allclose(np.asarray(to_rgb(straight)), np.asarray(to_rgb(straight.convert("RGBa"))), atol=2)


# many bits, other colours


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_and_not_cut(kind):
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)[None]
    for source in (encoded(Image.fromarray(ramp), kind), Image.fromarray(ramp), ramp):
        assert np.allclose(np.asarray(open_image(source))[0, :, 0], ramp[0] / 257, atol=1)


@pytest.mark.parametrize(
    "values",
    [
        np.linspace(0, 1, 64, dtype=np.float32),
        np.linspace(0, 255, 64, dtype=np.float32),
        np.linspace(0, 65535, 64, dtype=np.float32),
        np.linspace(-7, 9e9, 64, dtype=np.float32),
        np.linspace(0, 65535, 64).astype(np.int32),
        np.linspace(-(2**30), 2**30, 64).astype(np.int32),
    ],
    ids=lambda values: f"{values.dtype} to {values[-1]:g}",
)
def test_thirty_two_bits_are_scaled(values):
    image = Image.fromarray(values[None])
    for source in (image, encoded(image, "TIFF")):
        assert np.allclose(np.asarray(open_image(source))[0, :, 0], np.linspace(0, 255, 64), atol=2)


def test_values_that_are_no_numbers_are_refused():
    for bad in (np.nan, np.inf):
        with pytest.raises(MediaError, match="not numbers"):
            open_image(Image.fromarray(np.array([[0, bad]], dtype=np.float32)))
        with pytest.raises(MediaError, match="is not a picture"):
            open_image(np.array([[0, bad]]))


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB", "HSV", "1", "L", "P", "RGBX"])
def test_other_colours_become_rgb(mode):
    gray = Image.new("L", (3, 2), 255)
    image = (
        ImageCms.profileToProfile(
            gray.convert("RGB"),
            ImageCms.createProfile("sRGB"),
            ImageCms.createProfile("LAB"),
            outputMode="LAB",
        )
        if mode == "LAB"
        else gray.convert("RGB").convert(mode)
    )
    assert np.allclose(open_image(image).getpixel((0, 0)), WHITE, atol=3)


def test_a_cmyk_photograph_is_read(tmp_path):
    data = encoded(red_over_blue().convert("CMYK"), "JPEG", quality=95)
    assert open_image(data).getpixel((20, 10))[0] > 240 > 60 > open_image(data).getpixel((20, 10))[2]


# arrays


@pytest.mark.parametrize("channels", [0, 1, 2, 3, 4])
def test_arrays_and_tensors_of_every_kind_of_pixel(channels):
    shape = (5, 7, channels) if channels else (5, 7)
    array = np.full(shape, 255, np.uint8)
    tensor = torch.tensor(array).permute(2, 0, 1) if channels else torch.tensor(array)
    for source in (array, array / 255, array > 0, array.astype(np.uint16) * 257, array.astype(int), tensor):
        assert open_image(source).size == (7, 5) and open_image(source).getpixel((3, 3)) == WHITE
    for kind in (torch.float16, torch.bfloat16, torch.float64, torch.int64):
        assert open_image(tensor.to(kind)).getpixel((3, 3)) == WHITE


def test_the_channels_of_an_array_may_come_first_where_nothing_else_can_be_meant():
    assert open_image(np.zeros((3, 50, 70))).size == (70, 50)
    assert open_image(torch.zeros(50, 70, 3)).size == (70, 50)
    assert open_image(torch.zeros(3, 50, 70, requires_grad=True)).size == (70, 50)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 5)), np.zeros(5), np.zeros((2, 3, 4, 5)), np.zeros((9, 9, 9)), np.full((4, 4), 256),
        np.full((4, 4), -1.0), np.full((4, 4), "x"), np.zeros((4, 4), complex), np.zeros((4, 4), object),
    ],
    ids=lambda array: f"{array.shape} {array.dtype}",
)  # fmt: skip
def test_an_array_that_is_no_picture_is_refused_with_what_would_be_one(array):
    with pytest.raises(MediaError, match=r"is not a picture; (give|whole numbers)"):
        open_image(array)


def test_an_array_of_frames_is_a_video():
    frames = np.stack([np.full((4, 6, 3), shade, np.uint8) for shade in range(9)])
    for source in (frames, torch.tensor(frames).permute(0, 3, 1, 2), list(frames)):
        found = open_medium(source, 3, MediaLimits())
        assert [frame.getpixel((0, 0))[0] for frame in found] == [0, 4, 8]


@pytest.mark.parametrize("source", [None, 5, object(), {"path": "a.png"}, ["a.png"]])
def test_what_is_no_picture_at_all_is_refused(source):
    with pytest.raises(MediaError, match=r"is not a picture but a .*; give a path"):
        open_image(source)
