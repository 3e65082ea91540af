"""Reads frames of any video, evenly spaced in time and the right way up, decoding no more than needed.

Only this module decodes videos, with FFmpeg. It passes FFmpeg an open file and the container's format,
so that neither a name like `http:a.mp4` nor a playlist inside can make it open another file or address.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from math import inf, sqrt
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

from palm_demo.errors import MediaError
from palm_demo.media.containers import MOST_PACKETS, opened_container
from palm_demo.media.kinds import (
    DEFAULT_LIMITS,
    DecodingBudget,
    Kind,
    MediaLimits,
    check_pixels,
    head_of,
    kind_of,
    opened,
    unread,
)

THREADED_PIXELS = 300_000
"""Pixels of a frame from which on threads gain more than they cost."""

LARGEST_FRAME = 4
"""The decoder still makes frames of this many times the allowed pixels, so that an error can name their
size."""

WIDEST_PIXEL = 8
"""The most elongated pixel, as width by height or the inverse. Beyond it, the file's value is taken for
wrong."""

TURNS = {
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}
"""The transposition for a display matrix, by the signs of its a, b, c and d. A point (x, y) is shown at (ax
+ cy, bx + dy)."""


@dataclass(frozen=True)
class Packet:
    """A compressed frame.

    Attributes:
        at: when it is shown, in the stream's time base; None where the file does not say.
        is_key: whether it is a key frame.
    """

    at: int | None
    is_key: bool


def open_video(
    source: str | Path | bytes | BinaryIO,
    frames: int,
    limits: MediaLimits = DEFAULT_LIMITS,
    budget: DecodingBudget | None = None,
    max_side: int | None = None,
) -> list[Image.Image]:
    """Reads at most `frames` RGB pictures of a video, evenly spaced from the first frame to the last.

    One frame is the middle one; a video with fewer frames than asked for gives all of them.

    Args:
        source: a path, bytes or an open file.
        frames: the most frames.
        limits: on the video and on the work of decoding it.
        budget: what the request may still decode; by default a fresh one.
        max_side: the longer side of a frame, in pixels.

    Raises MediaError when the file is not a video, has no video stream, is damaged, too long or too
    large, or takes too much decoding.
    """
    with opened(source) as (file, name):
        head = head_of(file)
        kind = kind_of(head)
        if kind is None:
            raise unread(name, head, "video")
        if not kind.moving:
            raise MediaError(f"{name} is not a video but a picture ({kind.name}); choose one that moves")
        return _frames(file, name, kind, frames, limits, budget or DecodingBudget(limits), max_side)


def _frames(
    file: BinaryIO,
    name: str,
    kind: Kind,
    count: int,
    limits: MediaLimits,
    budget: DecodingBudget,
    max_side: int | None,
) -> list[Image.Image]:
    with _video(file, name, kind, limits) as (container, stream):
        index = _index(container, stream, name, limits)
    times = sorted(packet.at for packet in index if packet.at is not None)
    timed = len(times) * 2 > len(index)  # in some AVI only a frame's number says when it is shown
    places = nearest(times if timed else range(len(index)), count)
    with _video(file, name, kind, limits) as (container, stream):
        decoder, packets = _Decoder(stream, name, budget), _packets(container, stream, name)
        with budget.decoding():
            if timed:
                wanted = [times[place] for place in places]
                found = _decode_at(decoder, packets, index, sorted(set(wanted)))
            else:
                wanted = places
                found = _decode_all(decoder, packets, set(places))
        images = {key: _as_image(frame, stream, limits, max_side) for key, frame in found.items()}
    if not images:
        raise MediaError(f"{name} holds no frame that can be decoded; save it anew")
    return [images[key] for key in wanted if key in images]


def nearest(times: Sequence[float], count: int) -> list[int]:
    """Positions of the times that lie nearest to `count` evenly spaced moments. The moments go from the first
    time to the last; a single one is in the middle. `times` is in ascending order. If there are no more
    than `count`, all positions are returned. A position may occur several times."""
    if len(times) <= count:
        return list(range(len(times)))
    parts = [place / (count - 1) for place in range(count)] if count > 1 else [0.5]
    chosen = []
    for part in parts:
        at = times[0] + part * (times[-1] - times[0])
        after = min(bisect_left(times, at), len(times) - 1)
        before = max(0, after - 1)
        chosen.append(before if at - times[before] <= times[after] - at else after)
    return chosen


def seconds_of(path: str | Path) -> float:
    """The length of a video file in seconds: by its packets, or else by its header; 0 where neither tells.
    Its size and length are not limited, because nothing is decoded. Raises MediaError as `open_video`
    does."""
    limits = MediaLimits(pixels=2**28, video_seconds=inf)
    with opened(path) as (file, name):
        kind = kind_of(head_of(file))
        if kind is None or not kind.moving:
            return 0.0
        with _video(file, name, kind, limits) as (container, stream):
            at = [packet.at for packet in _index(container, stream, name, limits) if packet.at is not None]
            if len(at) < 2:
                return _header_seconds(container, stream)
            whole = (max(at) - min(at)) * len(at) / (len(at) - 1)  # with what the last frame takes
            return float(whole * stream.time_base)


@contextmanager
def _video(
    file: BinaryIO, name: str, kind: Kind, limits: MediaLimits
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Opens the container and its video stream at the beginning, after checking what the header says."""
    try:
        with opened_container(file, name, kind) as container:
            if not container.streams.video:
                raise MediaError(f"{name} has no video stream; choose a file with moving pictures")
            stream = container.streams.video[0]
            codec = stream.codec_context
            if codec is None:
                raise MediaError(f"{name} is in a format that cannot be decoded; save it as H.264")
            if codec.width and codec.height:
                check_pixels(f"a frame of {name}", codec.width, codec.height, limits.pixels)
            _check_seconds(name, _header_seconds(container, stream), limits)
            codec.options = {"max_pixels": str(LARGEST_FRAME * limits.pixels)}
            if codec.width * codec.height >= THREADED_PIXELS:
                codec.thread_type = "AUTO"
            yield container, stream
    except av.error.FFmpegError as error:
        raise MediaError(
            f"{name} is not a video that can be read ({error.strerror}); save it anew"
        ) from error


def _header_seconds(container: InputContainer, stream: VideoStream) -> float:
    """The length in seconds that the header gives; 0 where it gives none."""
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    return 0.0 if container.duration is None else container.duration / av.time_base


def _check_seconds(name: str, seconds: float, limits: MediaLimits) -> None:
    if seconds > limits.video_seconds:
        raise MediaError(
            f"{name} is {seconds:.0f} seconds long; at most {limits.video_seconds:g} fit, cut it shorter"
        )


def _packets(container: InputContainer, stream: VideoStream, name: str) -> Iterator[av.Packet]:
    """Yields the stream's packets in decoding order."""
    for count, packet in enumerate(container.demux()):
        if count >= MOST_PACKETS:
            raise MediaError(f"{name} is cut into more than {MOST_PACKETS:,} packets; save it anew")
        if packet.stream is stream and packet.size:
            yield packet


def _index(container: InputContainer, stream: VideoStream, name: str, limits: MediaLimits) -> list[Packet]:
    """Lists all packets before any is decoded."""
    index, first, last = [], None, 0.0
    for packet in _packets(container, stream, name):
        at = None if packet.is_discard else packet.pts
        index.append(Packet(at, packet.is_keyframe))
        if at is not None:
            shown = float(at * stream.time_base)
            first = shown if first is None else min(first, shown)
            last = max(last, shown + float((packet.duration or 0) * stream.time_base))
    _check_seconds(name, last - (first or 0.0), limits)
    return index


class _Decoder:
    """Decodes a stream packet by packet, within a budget. A broken packet gives no frame."""

    def __init__(self, stream: VideoStream, name: str, budget: DecodingBudget):
        self.codec, self.name, self.budget = stream.codec_context, name, budget

    def __call__(self, packet: av.Packet | None) -> list[VideoFrame]:
        """Frames in the order in which they are shown, some of them late. None flushes those still inside."""
        self.budget.check_time(self.name)
        try:
            frames = self.codec.decode(packet)
        except av.error.InvalidDataError:
            return []
        for frame in frames:
            self.budget.spend(self.name, frame.width, frame.height)
        return frames

    def skip_unreferenced(self, skip: bool) -> None:
        """Skips the next packet if no other frame is decoded from it."""
        self.codec.skip_frame = "NONREF" if skip else "DEFAULT"

    def flush(self) -> None:
        """Forgets earlier frames. Call it when the next packet does not follow the last one."""
        self.codec.flush_buffers()


def _decode_at(
    decode: _Decoder, packets: Iterable[av.Packet], index: Sequence[Packet], times: Sequence[int]
) -> dict[int, VideoFrame]:
    """Decodes the frames nearest to some of the index's times, which are in ascending order. Stretches
    between key frames that none of the times needs are skipped."""
    found: dict[int, VideoFrame] = {}
    waiting = deque(zip(times, _starts(index, times), strict=True))
    before: VideoFrame | None = None

    def take(frame: VideoFrame) -> None:
        nonlocal before
        if frame.pts is None:
            return
        while waiting and frame.pts >= waiting[0][0]:
            time, _ = waiting.popleft()
            closer = before is not None and time - before.pts < frame.pts - time
            found[time] = before if closer else frame
        before = frame

    wanted, decoding = set(times), False
    for place, packet in enumerate(packets):
        decoding = decoding or place >= waiting[0][1]
        if not decoding:
            continue
        decode.skip_unreferenced(packet.pts not in wanted)
        for frame in decode(packet):
            take(frame)
        if not waiting:
            return found
        if waiting[0][1] > place:
            decode.flush()
            decoding, before = False, None
    for frame in decode(None):
        take(frame)
    return found | {time: before for time, _ in waiting if before is not None}


def _starts(index: Sequence[Packet], times: Sequence[int]) -> list[int]:
    """For each time, the packet at which decoding has to begin.

    It is the last key frame that is no later, both in the file and in display order.
    """
    places = {packet.at: place for place, packet in enumerate(index)}
    keys = [place for place, packet in enumerate(index) if packet.is_key and packet.at is not None]
    starts = []
    for time in times:
        earlier = keys[: bisect_right(keys, places[time])]
        starts.append(next((key for key in reversed(earlier) if index[key].at <= time), 0))
    return starts


def _decode_all(decode: _Decoder, packets: Iterable[av.Packet], wanted: set[int]) -> dict[int, VideoFrame]:
    """Decodes frames by their number in display order. A file with fewer frames gives its last for the
    rest."""
    found: dict[int, VideoFrame] = {}
    last = None
    for place, last in enumerate(chain.from_iterable(map(decode, chain(packets, (None,))))):
        if place in wanted:
            found[place] = last
    return found | {place: last for place in wanted - found.keys() if last is not None}


def _as_image(
    frame: VideoFrame, stream: VideoStream, limits: MediaLimits, max_side: int | None
) -> Image.Image:
    """Converts a frame to RGB with square pixels, the right way up, within the limits and `max_side`."""
    image = frame.to_image()
    width, height = image.size
    ratio = float(stream.sample_aspect_ratio or 1)
    if 1 / WIDEST_PIXEL <= ratio <= WIDEST_PIXEL:
        width, height = width * max(1, ratio), height / min(1, ratio)
    scale = min(1, sqrt(limits.pixels / (width * height)))
    if max_side is not None:
        scale = min(scale, max_side / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if size != image.size:
        image = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=1.0)
    turn = _turn(frame)
    return image if turn is None else image.transpose(turn)


def _turn(frame: VideoFrame) -> Image.Transpose | None:
    """The transposition that a phone's or camera's display matrix asks for, or None."""
    data = next((data for data in frame.side_data if data.type.name == "DISPLAYMATRIX"), None)
    if data is None:
        return None
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(data)[:36])
    upright = abs(a) >= abs(b)
    signs = (a, 0, 0, d) if upright else (0, b, c, 0)
    return TURNS.get(tuple((value > 0) - (value < 0) for value in signs))
