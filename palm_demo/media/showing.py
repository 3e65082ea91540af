"""Media as browsers can show them: what they cannot is copied once into what they can."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import av

from palm_demo.media.frames import open_medium
from palm_demo.media.kinds import STANDARD, DecodingBudget, Kind, MediaLimits, head_of, kind_of, opened
from palm_demo.media.pictures import open_image
from palm_demo.media.videos import seconds_of

SHOWN_PICTURES = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF")
CONTAINERS = {"h264": ".mp4", "av1": ".mp4", "vp8": ".webm", "vp9": ".webm"}
"""By codec: what every browser plays."""

SIDE, FRAMES = 480, 24
"""Of a copy whose pixels had to be decoded: pixels of its longer side, and pictures of a video."""


def as_shown(path: str | Path, folder: Path, limits: MediaLimits = STANDARD) -> Path:
    """A file that browsers show, which is the file itself where they can.

    A video in another container is packed anew, bit by bit the same; one in another codec, HEVC for
    instance, becomes a moving picture of at most FRAMES frames; other pictures become WebP. folder: where
    copies go, made if need be. Raises MediaError where the file is no medium, or cannot be decoded.
    """
    path = Path(path)
    with opened(path) as (file, _):
        kind = kind_of(head_of(file))
    copy = folder / uuid4().hex
    if kind is not None and kind.moving:
        suffix = CONTAINERS.get(_codec(path, kind))
        if suffix == path.suffix.lower() and kind.name in ("MP4", "MKV"):
            return path
        folder.mkdir(parents=True, exist_ok=True)
        if suffix is not None and _packed_anew(path, kind, copy.with_suffix(suffix)):
            return copy.with_suffix(suffix)
        return _moving_picture(path, copy.with_suffix(".webp"), limits)
    if kind is not None and kind.reader in SHOWN_PICTURES:
        return path
    image = open_image(path, limits, SIDE)
    folder.mkdir(parents=True, exist_ok=True)
    image.save(copy.with_suffix(".webp"), "WEBP", quality=90)
    return copy.with_suffix(".webp")


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
            for packet in source.demux(stream):
                if packet.dts is not None:
                    packet.stream = packed
                    target.mux(packet)
    except (av.error.FFmpegError, ValueError):
        copy.unlink(missing_ok=True)
        return False
    return True


def _moving_picture(path: Path, copy: Path, limits: MediaLimits) -> Path:
    """A WebP of frames that are evenly spaced, and take as long as the video."""
    frames = open_medium(path, FRAMES, limits, DecodingBudget(limits), SIDE)
    milliseconds = round(1000 * seconds_of(path) / max(1, len(frames)))
    frames[0].save(
        copy,
        "WEBP",
        save_all=True,
        append_images=frames[1:],
        duration=max(40, milliseconds),
        loop=0,
        quality=80,
        method=0,
    )
    return copy
