"""Pictures and videos from files, good and bad."""

import os
import struct
import warnings
import zlib
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from palm_demo.errors import MediaError
from palm_demo.media import MediaLimits, is_video, open_image, open_medium, open_video

RED, BLUE = (255, 0, 0), (0, 0, 255)


def red_over_blue() -> Image.Image:
    image = Image.new("RGB", (40, 60), BLUE)
    image.paste(RED, (0, 0, 40, 30))
    return image


def blank_png(path: Path, width: int, height: int) -> Path:
    """A black PNG of any size that costs nothing to make: one row, deflated over and over."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer, row = zlib.compressobj(1), bytes((width + 7) // 8 + 1)
    rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def video(path: Path, frames: int, rate: int = 8, side: int = 32, codec="mpeg4", **container) -> Path:
    """A video that goes from black to white, evenly."""
    with av.open(str(path), "w", **container) as file:
        stream = file.add_stream(codec, rate=rate)
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        for shade in np.linspace(0, 255, frames):
            picture = np.full((side, side, 3), round(shade), np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        file.mux(stream.encode())
    return path


def sound(path: Path) -> Path:
    """A second of silence, in whatever container the name says."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("pcm_s16le" if path.suffix == ".wav" else "aac", rate=16000, layout="mono")
        for start in range(0, 16000, 1000):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1000), np.int16), "s16", "mono")
            silence.sample_rate, silence.pts = 16000, start
            file.mux(stream.encode(silence))
        file.mux(stream.encode())
    return path


def shades(images: list[Image.Image]) -> list[float]:
    return [float(np.asarray(image).mean()) for image in images]


# pictures


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_pictures_are_read_by_content_not_by_name(kind, tmp_path):
    red_over_blue().save(tmp_path / "picture.txt", kind)
    image = open_image(tmp_path / "picture.txt")
    assert image.size == (40, 60)
    assert np.allclose(image.convert("RGB").getpixel((20, 10)), RED, atol=8)
    assert open_image(str(tmp_path / "picture.txt")).size == (40, 60)


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "LA", "1", "I;16", "CMYK"])
def test_pictures_of_every_mode_are_read(mode, tmp_path):
    Image.new(mode, (5, 4)).save(tmp_path / "a.tif")
    image = open_image(tmp_path / "a.tif")
    assert (image.mode, image.size) == (mode, (5, 4))


def test_transparency_of_a_palette_is_kept(tmp_path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.save(tmp_path / "a.png", transparency=1)
    assert open_image(tmp_path / "a.png").convert("RGBA").getpixel((0, 0)) == (*RED, 0)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_a_picture_that_lies_on_its_side_is_put_upright(kind, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn to the right
    red_over_blue().rotate(90, expand=True).save(tmp_path / "a", kind, exif=exif)
    image = open_image(tmp_path / "a").convert("RGB")
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
    (tmp_path / "note.png").write_text("Dear reader, this is no picture at all. " * 20)
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


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(9_000, 10_000), (5_001, 5_000), (20_000, 20_000)], ids=str)
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(size, tmp_path, monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    path = blank_png(tmp_path / "huge.png", *size)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(MediaError, match=r"huge.png has .* at most 25"):
        open_image(path)


def test_the_limit_on_pixels_is_the_callers(tmp_path):
    path = blank_png(tmp_path / "a.png", 100, 100)
    assert open_image(path, MediaLimits(pixels=10_000)).size == (100, 100)
    for source in (path, Image.new("L", (100, 100))):
        with pytest.raises(MediaError, match="megapixels"):
            open_image(source, MediaLimits(pixels=9_999))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_an_animated_picture_is_refused_with_a_remedy(kind, tmp_path):
    frames = [Image.new("RGB", (20, 20), color) for color in (RED, BLUE, "white")]
    frames[0].save(tmp_path / "a", kind, save_all=True, append_images=frames[1:])
    with pytest.raises(MediaError, match=r"animated \(3 frames\); save it as an MP4"):
        open_image(tmp_path / "a")


def test_a_file_that_is_not_there_is_named(tmp_path):
    for read in (open_image, lambda path: open_video(path, 4)):
        with pytest.raises(MediaError, match=r"no file gone.png$"):
            read(tmp_path / "gone.png")


def test_a_folder_is_no_medium(tmp_path):
    for read in (open_image, lambda path: open_video(path, 4)):
        with pytest.raises(MediaError):
            read(tmp_path)


# videos


@pytest.mark.parametrize("count", [2, 3, 8])
@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv", "a.mov"])
def test_frames_are_evenly_spaced_from_the_first_to_the_last(name, count, tmp_path):
    found = shades(open_video(video(tmp_path / name, 24), count))
    assert np.allclose(found, np.linspace(0, 255, count), atol=12)


def test_a_video_of_few_frames_gives_them_all(tmp_path):
    assert np.allclose(shades(open_video(video(tmp_path / "a.mp4", 5), 8)), np.linspace(0, 255, 5), atol=5)


def test_one_frame_is_the_first(tmp_path):
    (first,) = open_video(video(tmp_path / "a.mp4", 24), 1)
    assert shades([first])[0] < 5 and first.mode == "RGB" and first.size == (32, 32)


@pytest.mark.parametrize(("name", "codec"), [("a.webm", "libvpx"), ("a.mkv", "mpeg4")])
def test_a_video_whose_header_tells_no_length_is_read_as_any_other(name, codec, tmp_path):
    path = video(tmp_path / name, 24, codec=codec, options={"live": "1"})
    with av.open(str(path)) as file:
        assert file.duration is None and file.streams.video[0].duration is None
    assert np.allclose(shades(open_video(path, 4)), np.linspace(0, 255, 4), atol=12)
    with pytest.raises(MediaError, match="3 seconds long; at most 2"):
        open_video(path, 4, MediaLimits(video_seconds=2))


def test_a_video_of_ten_minutes_is_refused_with_both_lengths_before_decoding(tmp_path, monkeypatch):
    path = video(tmp_path / "long.mp4", 600, rate=1, side=16)
    monkeypatch.setattr("palm_demo.media._sample", lambda *_: pytest.fail("decoded"))
    with pytest.raises(MediaError, match=r"long.mp4 is 600 seconds long; at most 60"):
        open_video(path, 8)


def test_a_video_of_too_many_pixels_is_refused(tmp_path):
    with pytest.raises(MediaError, match="megapixels"):
        open_video(video(tmp_path / "a.mp4", 3), 8, MediaLimits(pixels=1000))


@pytest.mark.parametrize("name", ["a.mp4", "a.wav", "a.mkv"])
def test_a_file_of_sound_alone_has_no_video_stream(name, tmp_path):
    with pytest.raises(MediaError, match=f"{name} has no video stream"):
        open_video(sound(tmp_path / name), 8)


def test_a_video_in_an_unknown_format_is_refused(tmp_path):
    path = video(tmp_path / "a.mp4", 3, codec="libx264")
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(MediaError, match="format that cannot be decoded"):
        open_video(path, 8)


def test_a_title_in_an_old_encoding_does_not_matter(tmp_path):
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as file:
        file.metadata["title"] = "TITLE"
        stream = file.add_stream("mpeg4", rate=8)
        stream.width = stream.height = 32
        file.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
        file.mux(stream.encode())
    path.write_bytes(path.read_bytes().replace(b"TITLE", "caf\u00e9!".encode("latin-1")))
    assert len(open_video(path, 8)) == 1


def test_a_truncated_or_made_up_video_is_refused(tmp_path):
    whole = video(tmp_path / "a.mp4", 24).read_bytes()
    for damaged in (whole[:200], whole[: len(whole) // 2], b"no video at all " * 50, b""):
        (tmp_path / "b.mp4").write_bytes(damaged)
        with pytest.raises(MediaError, match=r"b.mp4 (is not a video|has no video stream)"):
            open_video(tmp_path / "b.mp4", 8)


def test_damage_to_a_video_is_the_files_fault_and_never_ours(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a.mp4", "a.avi"):
        whole = video(tmp_path / name, 4).read_bytes()
        for _ in range(12):
            damaged = bytearray(whole)
            for place in rng.integers(0, len(damaged), 20):
                damaged[place] = rng.integers(256)
            (tmp_path / "damaged").write_bytes(damaged)
            with suppress(MediaError):
                assert open_video(tmp_path / "damaged", 4)


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
    with pytest.raises(MediaError, match="megapixels"):
        open_medium([red_over_blue()], 3, MediaLimits(pixels=100))


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
