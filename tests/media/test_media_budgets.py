"""Media that would be decoded without end, and names that are no files: a limit each, and a remedy."""

import os
import threading
import time
from contextvars import copy_context
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from palm_demo.concurrency import gone
from palm_demo.errors import LeftError, MediaError
from palm_demo.media import DecodingBudget, MediaLimits, is_video, open_image, open_medium, open_video
from tests.media_files import shades, timed, video


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
    with pytest.raises(MediaError, match=r"a.mp4 takes more decoding .* 40 frames; cut it shorter"):
        open_video(path, 8, MediaLimits(decoded_frames=40))
    assert len(decoded) == 41
    with pytest.raises(MediaError, match="20,000 pixels"):
        open_video(path, 8, MediaLimits(decoded_pixels=20_000))
    with pytest.raises(MediaError, match="0 seconds of decoding"):
        open_video(path, 8, MediaLimits(decoding_seconds=0))


def test_nothing_is_decoded_for_who_has_left(tmp_path):
    path, left = video(tmp_path / "a.mp4", 48), threading.Event()

    def decoded() -> list:
        gone.set(left)
        return open_video(path, 8, MediaLimits())

    assert len(copy_context().run(decoded)) == 8
    left.set()
    with pytest.raises(LeftError):
        copy_context().run(decoded)


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
            with pytest.raises(MediaError, match="not a file but a folder, device or pipe"):
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
