"""Media as browsers can show them: what they cannot is copied once into what they can."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import uuid4

import av
from PIL import Image

from palm_demo.media.frames import open_medium
from palm_demo.media.kinds import STANDARD, Kind, MediaLimits, head_of, kind_of, opened
from palm_demo.media.pictures import open_image
from palm_demo.media.videos import seconds_of

SHOWN_PICTURES = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF")
CONTAINERS = {"h264": ".mp4", "av1": ".mp4", "vp8": ".webm", "vp9": ".webm"}
CONTAINER_KINDS = {".mp4": "MP4", ".webm": "MKV"}
"""By codec: what every browser plays."""

COPY = "copy"
"""What copies are called."""

SIDE, FRAMES = 480, 24
"""Of a copy whose pixels are decoded: pixels of its longer side, and pictures of a video."""


def is_shown(path: str | Path) -> bool:
    """Whether browsers show a picture's file as it is; also of files that are no pictures nothing else is
    to be shown. Raises MediaError where there is no file to read."""
    with opened(path) as (file, _):
        kind = kind_of(head_of(file))
    return kind is None or kind.moving or kind.reader in SHOWN_PICTURES


def as_shown(
    path: str | Path,
    folder: Path,
    limits: MediaLimits = STANDARD,
    decoded: Sequence[Image.Image] = (),
) -> Path:
    """A file that browsers show, which is the file itself where they can.

    A video in another container is packed anew, bit by bit the same; one in another codec, HEVC for
    instance, becomes a moving picture of a few frames; other pictures become WebP.

    folder: where the copy goes, made if need be; of this one file, so that what is there already is given
    back. decoded: what `open_medium` gave, where that was done.
    Raises MediaError where the file is no medium, or cannot be decoded.
    """
    path = Path(path)
    with opened(path) as (file, _):
        kind = kind_of(head_of(file))
    if (made := next(folder.glob(f"{COPY}.*"), None)) is not None:
        return made
    if kind is not None and kind.moving:
        suffix = CONTAINERS.get(_codec(path, kind))
        if suffix == path.suffix.lower() and kind.name == CONTAINER_KINDS[suffix]:
            return path
        if suffix is not None:
            packed = _kept(folder, suffix, lambda copy: _packed_anew(path, kind, copy))
            if packed is not None:
                return packed
        frames = decoded or open_medium(path, FRAMES, limits, max_side=SIDE)
        seconds = seconds_of(path)
        return _kept(folder, ".webp", lambda copy: _moving_picture(frames, seconds, copy))
    if kind is not None and kind.reader in SHOWN_PICTURES:
        return path
    image = open_image(decoded[0] if decoded else path, limits, SIDE)
    return _kept(folder, ".webp", lambda copy: image.save(copy, "WEBP", quality=90))


def _kept(folder: Path, suffix: str, write: Callable[[Path], bool | None]) -> Path | None:
    """The copy in the folder, written whole or not at all; None where `write` says by False that it cannot
    be."""
    folder.mkdir(parents=True, exist_ok=True)
    half = folder / f"{uuid4().hex}{suffix}"
    try:
        if write(half) is False:
            return None
        return half.replace(folder / f"{COPY}{suffix}")
    finally:
        half.unlink(missing_ok=True)


def _codec(path: Path, kind: Kind) -> str:
    """Of a file's video as FFmpeg calls it; "" where there is none."""
    try:
        with (
            opened(path) as (file, _),
            av.open(file, format=kind.reader, metadata_errors="ignore") as container,
        ):
            codecs = [stream.codec_context for stream in container.streams.video]
            return codecs[0].name if codecs and codecs[0] is not None else ""
    except av.error.FFmpegError:
        return ""


def _packed_anew(path: Path, kind: Kind, copy: Path) -> bool:
    """Whether the video's packets could be put into another container, without its sound."""
    try:
        with (
            opened(path) as (file, _),
            av.open(file, format=kind.reader, metadata_errors="ignore") as source,
            av.open(str(copy), "w") as target,
        ):
            stream = source.streams.video[0]
            packed = target.add_stream_from_template(stream)
            for packet in _in_time([packet for packet in source.demux(stream) if packet.size]):
                packet.stream = packed
                target.mux(packet)
    except (av.error.FFmpegError, ValueError):
        copy.unlink(missing_ok=True)
        return False
    return True


def _in_time(packets: Sequence[av.Packet]) -> Sequence[av.Packet]:
    """The packets, each with a time of decoding: MKV leaves out those before the first frame is shown."""
    first = next((place for place, packet in enumerate(packets) if packet.dts is not None), len(packets))
    begin = packets[first].dts if first < len(packets) else 0
    before = begin - first - 1
    for packet in packets:
        packet.dts = before + 1 if packet.dts is None else packet.dts
        before = packet.dts
    return packets


def _moving_picture(frames: Sequence[Image.Image], seconds: float, copy: Path) -> None:
    """A WebP of a video's frames, which are evenly spaced in time."""
    first, *others = (open_image(frame, max_side=SIDE) for frame in frames)
    first.save(
        copy,
        "WEBP",
        save_all=True,
        append_images=others,
        duration=max(40, round(1000 * seconds / len(frames))),
        loop=0,
        quality=80,
        method=0,
    )
