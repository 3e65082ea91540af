"""Frames of videos, good and bad."""

import struct
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from palm_demo.errors import MediaError
from palm_demo.media import MediaLimits, is_video, open_video
from tests.media_files import BLUE, RED, shades, sound, timed, video


@pytest.mark.parametrize("count", [2, 3, 8])
@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv", "a.mov"])
def test_frames_are_evenly_spaced_from_the_first_to_the_last(name, count, tmp_path):
    found = shades(open_video(video(tmp_path / name, 24), count))
    assert np.allclose(found, np.linspace(0, 255, count), atol=12)


def test_a_video_of_few_frames_gives_them_all(tmp_path):
    assert np.allclose(shades(open_video(video(tmp_path / "a.mp4", 5), 8)), np.linspace(0, 255, 5), atol=5)


def test_one_frame_is_that_in_the_middle(tmp_path):
    (middle,) = open_video(video(tmp_path / "a.mp4", 25), 1)
    assert 115 < shades([middle])[0] < 140 and middle.mode == "RGB" and middle.size == (32, 32)


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
    monkeypatch.setattr("palm_demo.media.videos._Decoder.__call__", lambda *_: pytest.fail("decoded"))
    with pytest.raises(MediaError, match=r"long.mp4 is 600 seconds long; at most 60"):
        open_video(path, 8)


def test_a_video_of_too_many_pixels_is_refused(tmp_path):
    with pytest.raises(MediaError, match="megapixels"):
        open_video(video(tmp_path / "a.mp4", 3), 8, MediaLimits(pixels=1000))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
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


# what phones and other programs write


MATRICES = {
    0: (1, 0, 0, 1),
    90: (0, -1, 1, 0),
    180: (-1, 0, 0, -1),
    270: (0, 1, -1, 0),
    "mirror": (-1, 0, 0, 1),
}
"""a, b, c and d: a point (x, y) is shown at (ax + cy, bx + dy)."""


def turned(path: Path, way: int | str) -> Path:
    """Red on the left and blue on the right as it is stored, and how to turn it to see it."""
    stored = np.zeros((32, 64, 3), np.uint8)
    stored[:, :32], stored[:, 32:] = RED, BLUE
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        for _ in range(4):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(stored)))
        file.mux(stream.encode())
    before, told, after = path.read_bytes().rpartition(matrix(*MATRICES[0]))
    assert told
    path.write_bytes(before + matrix(*MATRICES[way]) + after)
    return path


def matrix(a: int, b: int, c: int, d: int) -> bytes:
    """As the header of a track has it, whose last is the video's."""
    one = 1 << 16
    return struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)


@pytest.mark.parametrize(
    ("way", "size", "red"),
    [
        (0, (64, 32), (5, 16)),
        (90, (32, 64), (16, 58)),
        (180, (64, 32), (58, 16)),
        (270, (32, 64), (16, 5)),
        ("mirror", (64, 32), (58, 16)),
    ],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
def test_a_video_is_seen_the_way_it_was_taken(name, way, size, red, tmp_path):
    for frame in open_video(turned(tmp_path / name, way), 3):
        assert frame.size == size
        assert np.allclose(frame.getpixel(red), RED, atol=40)
        assert np.allclose(frame.getpixel((size[0] - 1 - red[0], size[1] - 1 - red[1])), BLUE, atol=40)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_each_sample_time_of_a_variable_rate_takes_the_frame_nearest_to_it(name, tmp_path):
    times = [0.0, *np.arange(9.1, 10.01, 0.05)]
    found = shades(open_video(timed(tmp_path / name, times), 8))
    wanted = [min(times, key=lambda time: abs(time - at)) for at in np.linspace(0, 10, 8)]
    assert np.allclose(found, [255 * time / times[-1] for time in wanted], atol=8)
    assert found[0] < 5 and found[1] < 5 and found[-1] > 250


@pytest.mark.parametrize("options", [{"g": 12}, {"g": 250}, {"g": 12, "bf": 3}, {"g": 1}], ids=str)
def test_leaping_between_key_frames_finds_what_decoding_all_does(options, tmp_path):
    path = timed(tmp_path / "a.mp4", list(np.arange(0, 6, 0.05)), **options)
    with av.open(str(path)) as file:
        every = [frame.to_image() for frame in file.decode(video=0)]
    found = open_video(path, 7)
    places = [min(range(120), key=lambda p: abs(0.05 * p - at)) for at in np.linspace(0, 5.95, 7)]
    assert [
        np.abs(np.subtract(a, every[p], dtype=int)).max() for a, p in zip(found, places, strict=True)
    ] == [0] * 7


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.ts", "mpeg2video"),
        ("a.flv", "flv1"),
        ("a.mpg", "mpeg2video"),
        ("a.webm", "libvpx"),
    ],
)
def test_other_containers_are_read(name, codec, tmp_path):
    path = video(tmp_path / name, 24, rate=24, side=64, codec=codec).rename(tmp_path / "a.bin")
    found = shades(open_video(path, 3))
    assert is_video(path) and found[0] < 30 and 90 < found[1] < 160 and found[2] > 225


def wide(path: Path, ratio: Fraction) -> Path:
    """A frame of 36 × 32 pixels that are wider than they are high."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 36, 32, "yuv420p"
        stream.codec_context.sample_aspect_ratio = ratio
        file.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 36, 3), np.uint8))))
        file.mux(stream.encode())
    return path


def test_frames_are_as_wide_as_their_pixels_say(tmp_path):
    path = wide(tmp_path / "a.mp4", Fraction(16, 9))
    assert open_video(path, 1)[0].size == (64, 32)
    assert open_video(path, 1, max_side=16)[0].size == (16, 8)


def test_wide_pixels_do_not_make_a_frame_larger_than_the_limits(tmp_path):
    path = wide(tmp_path / "a.mp4", Fraction(8, 1))
    (frame,) = open_video(path, 1, MediaLimits(pixels=36 * 32))
    assert frame.width * frame.height <= 36 * 32 and abs(frame.width / frame.height - 9) < 0.5
