"""Pictures and videos from files, good and bad."""

import os
import struct
import warnings
import zlib
from contextlib import suppress
from io import BytesIO, StringIO

import numpy as np
import pytest
from PIL import Image

from palm_demo.errors import MediaError
from palm_demo.media import MediaLimits, is_video, open_image, open_medium, open_video
from tests.media_files import BLUE, RED, blank_png, red_over_blue, shades, video


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_pictures_are_read_by_content_not_by_name(kind, tmp_path):
    red_over_blue().save(tmp_path / "picture.txt", kind)
    image = open_image(tmp_path / "picture.txt")
    assert image.size == (40, 60)
    assert np.allclose(image.getpixel((20, 10)), RED, atol=8)
    assert open_image(str(tmp_path / "picture.txt")).size == (40, 60)


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "LA", "1", "I;16", "CMYK"])
def test_pictures_of_every_mode_are_read_as_rgb(mode, tmp_path):
    Image.new(mode, (5, 4)).save(tmp_path / "a.tif")
    image = open_image(tmp_path / "a.tif")
    assert (image.mode, image.size) == ("RGB", (5, 4))


def test_transparency_of_a_palette_is_white(tmp_path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.save(tmp_path / "a.png", transparency=1)
    assert open_image(tmp_path / "a.png").getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_a_picture_that_lies_on_its_side_is_put_upright(kind, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn to the right
    red_over_blue().rotate(90, expand=True).save(tmp_path / "a", kind, exif=exif)
    image = open_image(tmp_path / "a")
    assert image.size == (40, 60)
    assert np.allclose(image.getpixel((20, 10)), RED, atol=8)
    assert np.allclose(image.getpixel((20, 50)), BLUE, atol=8)


def test_an_opened_picture_does_not_need_its_file_any_more(tmp_path):
    red_over_blue().save(tmp_path / "a.png")
    image = open_image(tmp_path / "a.png")
    (tmp_path / "a.png").unlink()
    assert image.getpixel((0, 0)) == RED


def test_a_picture_in_memory_is_taken_as_it_is():
    image = red_over_blue()
    assert open_image(image) is image


def test_a_phones_photo_with_a_second_view_behind_it_is_one_picture(tmp_path):
    red_over_blue().save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[Image.new("RGB", (40, 60))])
    assert np.allclose(open_image(tmp_path / "a.jpg").getpixel((20, 10)), RED, atol=8)


def test_a_text_named_png_is_no_picture(tmp_path):
    (tmp_path / "note.png").write_text("Dear reader, this is not a picture at all. " * 20)
    with pytest.raises(MediaError, match=r"note.png is not a picture .* PNG, JPEG"):
        open_image(tmp_path / "note.png")


def test_an_empty_file_is_no_picture(tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(MediaError, match="not a picture"):
        open_image(tmp_path / "a.png")


@pytest.mark.parametrize("kind", ["PPM", "ICO", "EPS"])
def test_formats_that_nobody_needs_are_not_read(kind, tmp_path):
    red_over_blue().save(tmp_path / "a.png", kind)
    with pytest.raises(MediaError, match="not a picture"):
        open_image(tmp_path / "a.png")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_a_truncated_picture_is_said_to_be_damaged(kind, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (60, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a", kind)
    whole = (tmp_path / "a").read_bytes()
    (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MediaError, match="cut is damaged"):
        open_image(tmp_path / "cut")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damage_of_any_kind_is_the_files_fault_and_never_ours(tmp_path):
    rng = np.random.default_rng(0)
    for kind in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"):
        red_over_blue().save(tmp_path / "whole", kind)
        whole = (tmp_path / "whole").read_bytes()
        for _ in range(12):
            damaged = bytearray(whole)
            for place in rng.integers(0, min(len(damaged), 200), 4):
                damaged[place] = rng.integers(256)
            (tmp_path / "damaged").write_bytes(damaged)
            with suppress(MediaError):
                open_image(tmp_path / "damaged")


@pytest.mark.parametrize("size", [(9_000, 10_000), (20_000, 20_000), (1, 100_000_000)], ids=str)
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(size, tmp_path, monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    path = (
        blank_png(tmp_path / "huge.png", *size) if min(size) > 1 else blank_png(tmp_path / "huge.png", 8, 20)
    )
    if min(size) == 1:
        data = bytearray(path.read_bytes())
        data[16:24] = struct.pack(">II", *size)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        path.write_bytes(data)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(MediaError, match=rf"huge.png has .*{size[0]} × {size[1]}.* at most 64 .* smaller"):
        open_image(path)


@pytest.mark.parametrize("size", [(5_001, 5_000), (8_000, 6_000)], ids=str)
def test_a_picture_larger_than_is_wanted_is_shrunk(size, tmp_path):
    image = open_image(blank_png(tmp_path / "large.png", *size))
    assert image.width * image.height <= 25_000_000
    assert abs(image.width / image.height - size[0] / size[1]) < 0.01


def test_the_limits_are_the_callers(tmp_path):
    path = blank_png(tmp_path / "a.png", 100, 100)
    assert open_image(path, MediaLimits(pixels=10_000)).size == (100, 100)
    for source in (path, path.read_bytes(), Image.new("L", (100, 100)), np.zeros((100, 100), np.uint8)):
        assert open_image(source, MediaLimits(pixels=9_999)).size == (50, 50)
    with pytest.raises(MediaError, match=r"0.01 megapixels"):
        open_image(path, MediaLimits(pixels=100, read_pixels=9_999))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF"])
def test_an_animated_picture_is_its_first_frame_or_a_video(kind, tmp_path):
    frames = [Image.new("RGB", (20, 20), color) for color in (RED, BLUE, "white")]
    frames[0].save(tmp_path / "a", kind, save_all=True, append_images=frames[1:], duration=100)
    assert is_video(tmp_path / "a")
    data = (tmp_path / "a").read_bytes()
    for source in (tmp_path / "a", data, BytesIO(data), Image.open(tmp_path / "a")):
        assert np.allclose(open_image(source).getpixel((9, 9)), RED, atol=4)
        found = open_medium(source, 8, MediaLimits())
        assert np.allclose([frame.getpixel((9, 9)) for frame in found], [RED, BLUE, (255,) * 3], atol=4)


def test_a_file_that_is_not_there_is_named(tmp_path):
    for read in (open_image, lambda path: open_video(path, 4)):
        with pytest.raises(MediaError, match=r"no file gone.png$"):
            read(tmp_path / "gone.png")


def test_an_open_file_that_gives_no_bytes_is_refused_with_what_to_do(tmp_path):
    red_over_blue().save(tmp_path / "a.png")
    with open(tmp_path / "a.png", "rb") as closed:
        pass
    reader, writer = os.pipe()
    os.close(writer)
    with open(tmp_path / "a.png") as text, open(tmp_path / "b", "wb") as written, open(reader, "rb") as pipe:
        for source, wrong in (
            (text, 'a.png is open as text; open it with mode "rb"'),
            (StringIO("words"), 'the file is open as text; open it with mode "rb"'),
            (closed, r"a.png cannot be read \(.*closed.*\); give its path or its bytes"),
            (written, r"b cannot be read \(read\); give its path or its bytes"),
            (pipe, r"cannot be read \(.*seekable.*\); give its path or its bytes"),
        ):
            for read in (open_image, lambda file: open_video(file, 4)):
                with pytest.raises(MediaError, match=wrong):
                    read(source)
            assert not is_video(source)


def test_a_folder_is_no_medium(tmp_path):
    for read in (open_image, lambda path: open_video(path, 4)):
        with pytest.raises(MediaError):
            read(tmp_path)


# which is which


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv", "a.mov"])
def test_a_video_is_known_by_its_bytes(name, tmp_path):
    path = video(tmp_path / name, 2).rename(tmp_path / "a.png")
    assert is_video(path) and is_video(str(path))


def test_anything_else_is_no_video(tmp_path):
    red_over_blue().save(tmp_path / "a.webp")
    red_over_blue().save(tmp_path / "a.png")
    (tmp_path / "a.mp4").write_text("no video")
    assert not any(map(is_video, (*tmp_path.iterdir(), tmp_path / "gone.mp4")))


def test_a_medium_is_opened_as_what_it_is(tmp_path):
    red_over_blue().save(tmp_path / "a.mp4", "PNG")
    moving = video(tmp_path / "b.mp4", 24).rename(tmp_path / "b.png")
    (picture,) = open_medium(tmp_path / "a.mp4", 3, MediaLimits())
    assert picture.size == (40, 60)
    assert np.allclose(shades(open_medium(str(moving), 3, MediaLimits())), [0, 127, 255], atol=12)
    (same,) = open_medium(picture, 3, MediaLimits())
    assert same is picture


@pytest.mark.parametrize(("given", "kept"), [(1, [0]), (3, [0, 1, 2]), (5, [0, 2, 4]), (90, [0, 44, 89])])
def test_frames_given_as_pictures_are_thinned_evenly(given, kept):
    frames = [Image.new("L", (2, 2), shade) for shade in range(given)]
    assert shades(open_medium(frames, 3, MediaLimits())) == kept


def test_frames_given_as_pictures_keep_the_limits():
    with pytest.raises(MediaError, match="no frames"):
        open_medium([], 3, MediaLimits())
    (small,) = open_medium([red_over_blue()], 3, MediaLimits(pixels=100))
    assert small.width * small.height <= 100


def test_reading_media_leaves_no_file_open(tmp_path):
    red_over_blue().save(tmp_path / "a.png")
    video(tmp_path / "a.mp4", 3)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        for _ in range(5):
            open_image(tmp_path / "a.png")
            open_video(tmp_path / "a.mp4", 2)
    assert not before or len(os.listdir("/proc/self/fd")) == before
