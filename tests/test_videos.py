"""Frames of videos, good and bad."""

import os
import time
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from palm_demo.errors import MediaError
from palm_demo.media import DecodingBudget, MediaLimits, is_video, open_image, open_medium, open_video
from tests.media_files import BLUE, RED, shades, sound, video


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


def turned(path: Path, degrees: int, flip: bool = False) -> Path:
    """Red on the left and blue on the right as it is stored, and how to turn it to see it."""
    stored = np.zeros((32, 64, 3), np.uint8)
    stored[:, :32], stored[:, 32:] = RED, BLUE
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        stream.set_display_rotation(degrees, hflip=flip) if flip else stream.set_display_rotation(degrees)
        for _ in range(4):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(stored)))
        file.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("degrees", "size", "red"),
    [(0, (64, 32), (5, 16)), (90, (32, 64), (16, 58)), (180, (64, 32), (58, 16)), (270, (32, 64), (16, 5))],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
def test_a_video_is_seen_the_way_it_was_taken(name, degrees, size, red, tmp_path):
    for frame in open_video(turned(tmp_path / name, degrees), 3):
        assert frame.size == size
        assert np.allclose(frame.getpixel(red), RED, atol=40)
        assert np.allclose(frame.getpixel((size[0] - 1 - red[0], size[1] - 1 - red[1])), BLUE, atol=40)


def timed(path: Path, times: list[float], codec: str = "libx264", **options) -> Path:
    """A video whose frames come at these seconds; each is as bright as it is late."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=30)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.options = {name: str(value) for name, value in options.items()}
        for time in times:
            shade = round(255 * time / max(times[-1], 1e-9))
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), shade, np.uint8))
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


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


def test_frames_are_as_wide_as_their_pixels_say(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as file:
        stream = file.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 36, 32, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(16, 9)
        file.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 36, 3), np.uint8))))
        file.mux(stream.encode())
    assert open_video(tmp_path / "a.mp4", 1)[0].size == (64, 32)


# what would be endless


def growing(path: Path, sides: list[int]) -> Path:
    """A WebM whose frames have other sizes than its header says."""
    packets = []
    for side in sides:
        codec = av.CodecContext.create("libvpx", "w")
        codec.width = codec.height = side
        codec.pix_fmt, codec.time_base, codec.framerate = "yuv420p", Fraction(1, 8), Fraction(8)
        codec.options = {"deadline": "realtime", "cpu-used": "16"}
        packets += [*codec.encode(av.VideoFrame(side, side, "yuv420p")), *codec.encode(None)]
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libvpx", rate=8)
        stream.width = stream.height = sides[0]
        stream.pix_fmt = "yuv420p"
        for place, packet in enumerate(packets):
            packet.stream, packet.time_base = stream, Fraction(1, 8)
            packet.pts = packet.dts = place
            file.mux(packet)
    return path


def test_every_frames_size_is_checked(tmp_path):
    limits = MediaLimits(pixels=10_000)
    assert len(open_video(growing(tmp_path / "a.webm", [64, 64, 96]), 8, limits)) == 3
    with pytest.raises(
        MediaError, match=r"a frame of b.webm has 0.0164 megapixels \(128 × 128\); at most 0.01"
    ):
        open_video(growing(tmp_path / "b.webm", [64, 64, 128]), 8, limits)


def test_a_frame_beyond_all_bounds_is_not_decoded(tmp_path):
    path = growing(tmp_path / "a.webm", [64, 64, 1024])
    try:
        frames = open_video(path, 8, MediaLimits(pixels=10_000))
    except MediaError:
        return
    assert max(frame.width for frame in frames) == 64


def test_a_budget_of_frames_is_checked_while_it_is_spent(tmp_path, monkeypatch):
    path = timed(tmp_path / "a.mp4", list(np.arange(0, 5, 0.01)), g=500)
    decoded = []
    spend = DecodingBudget.spend
    monkeypatch.setattr(DecodingBudget, "spend", lambda *args: (decoded.append(args), spend(*args)))
    with pytest.raises(MediaError, match=r"a.mp4 takes more decoding .* 100 frames; cut it shorter"):
        open_video(path, 8, MediaLimits(decoded_frames=100))
    assert len(decoded) < 150
    with pytest.raises(MediaError, match="100,000 pixels"):
        open_video(path, 8, MediaLimits(decoded_pixels=100_000))
    with pytest.raises(MediaError, match="0 seconds of decoding"):
        open_video(path, 8, MediaLimits(decoding_seconds=0))


def test_many_cheap_frames_cost_what_lies_before_the_wanted_ones(tmp_path):
    path = timed(tmp_path / "a.mp4", list(np.arange(0, 20, 0.01)), g=25, preset="ultrafast")
    assert len(open_video(path, 8, MediaLimits(decoded_frames=500))) == 8


def test_one_budget_is_shared_by_the_media_of_a_request(tmp_path):
    path = video(tmp_path / "a.mp4", 24)
    limits = MediaLimits(decoded_frames=12)
    budget = DecodingBudget(limits)
    assert len(open_video(path, 8, limits, budget)) == 8
    with pytest.raises(MediaError, match="12 frames"):
        open_video(path, 8, limits, budget)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animations_frames_are_counted_too(kind, tmp_path):
    frames = [Image.new("RGB", (16, 16), (shade, 0, 0)) for shade in range(0, 250, 5)]
    frames[0].save(tmp_path / "a", kind, save_all=True, append_images=frames[1:], duration=40)
    assert len(open_medium(tmp_path / "a", 8, MediaLimits())) == 8
    with pytest.raises(MediaError, match="20 frames"):
        open_medium(tmp_path / "a", 8, MediaLimits(decoded_frames=20))
    with pytest.raises(MediaError, match="longer than 1 seconds"):
        open_medium(tmp_path / "a", 8, MediaLimits(video_seconds=1))


def test_an_animations_frames_are_taken_by_when_they_are_shown(tmp_path):
    frames = [Image.new("L", (8, 8), shade) for shade in range(0, 100, 10)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=[900, *[100] * 9])
    assert [round(shade) for shade in shades(open_medium(tmp_path / "a.gif", 3, MediaLimits()))] == [
        0,
        10,
        90,
    ]


# nothing but files


@pytest.mark.parametrize("name", ["clip:1.mp4", "http:.mp4", "concat:a|b.mp4", "-.mp4", "a?b#c%20.mp4"])
def test_a_name_is_never_an_address(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    video(tmp_path / "plain.mp4", 5).rename(tmp_path / name)
    for source in (name, Path(name), tmp_path / name, (tmp_path / name).read_bytes()):
        assert is_video(source) and len(open_video(source, 3)) == 3


@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{}'\n",
        "v=0\ns=x\nm=video 1 RTP/AVP 96",
    ],
)
def test_a_playlist_is_no_video(playlist, tmp_path):
    other = video(tmp_path / "other.mp4", 5)
    (tmp_path / "a.mp4").write_text(playlist.format(other))
    with pytest.raises(MediaError, match=r"a.mp4 is not a video that is read: .*MP4"):
        open_video(tmp_path / "a.mp4", 3)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_and_a_device_are_refused_without_being_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    for read in (
        open_image,
        lambda path: open_video(path, 3),
        lambda path: open_medium(path, 3, MediaLimits()),
    ):
        for place in (tmp_path / "pipe.mp4", "/dev/null", "/dev/ptmx", tmp_path):
            with pytest.raises(MediaError, match="no file but a folder, device or pipe"):
                read(place)
    assert not is_video(tmp_path / "pipe.mp4")


@pytest.mark.parametrize("name", ["a\0.png", "a\ud800.png", "x" * 5000 + ".png", ""])
def test_a_name_that_no_file_can_have_is_told(name):
    for read in (open_image, lambda path: open_video(path, 3)):
        with pytest.raises(MediaError):
            read(name)


def test_time_between_two_media_of_a_request_is_not_decoding(tmp_path, monkeypatch):
    path, now = video(tmp_path / "a.mp4", 24), [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    limits = MediaLimits(decoding_seconds=20)
    budget = DecodingBudget(limits)
    open_video(path, 8, limits, budget)
    now[0] += 3600
    assert len(open_video(path, 8, limits, budget)) == 8
    with budget.decoding(), pytest.raises(MediaError, match=r"a.mp4 takes more than 20 seconds of decoding"):
        now[0] += 21
        budget.check_time("a.mp4")
