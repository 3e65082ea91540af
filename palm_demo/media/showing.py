"""Media that browsers can show: files in other formats are converted once, into a copy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import uuid4

import av
from PIL import Image

from palm_demo.media.containers import opened_container
from palm_demo.media.frames import open_medium
from palm_demo.media.kinds import DEFAULT_LIMITS, Kind, MediaLimits, head_of, kind_of, opened
from palm_demo.media.pictures import open_image
from palm_demo.media.videos import seconds_of

SHOWN_PICTURES = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF")
CONTAINERS = {"h264": ".mp4", "av1": ".mp4", "vp8": ".webm", "vp9": ".webm"}
CONTAINER_KINDS = {".mp4": "MP4", ".webm": "MKV"}
"""Containers by codec: what every browser plays."""

COPY = "copy"
"""The name of a copy, without its suffix."""

SIDE, FRAMES = 480, 24
"""The longer side of a converted copy in pixels, and its number of frames if it is a video."""


def is_shown(path: str | Path) -> bool:
    """Whether browsers show a picture's file as it is. Also true of files that are not pictures.

    Raises MediaError where there is no file to read.
    """
    with opened(path) as (file, _):
        kind = kind_of(head_of(file))
    return kind is None or kind.moving or kind.reader in SHOWN_PICTURES


def as_shown(
    path: str | Path,
    folder: Path,
    limits: MediaLimits = DEFAULT_LIMITS,
    decoded: Sequence[Image.Image] = (),
) -> Path:
    """A file that browsers show: the given one if they can show it, otherwise a copy.

    A video in another container is remuxed without loss. A video in another codec, such as HEVC, becomes
    an animated WebP of a few frames, and other pictures become WebP.

    Args:
        path: the file.
        folder: where the copy goes, made if missing. It serves this one file: a copy that is there is
            returned.
        decoded: what `open_medium` returned for the file, if it was called.

    Raises MediaError where the file is not a picture or video, or cannot be decoded.
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
            remuxed = _write_copy(folder, suffix, lambda copy: _remux(path, kind, copy))
            if remuxed is not None:
                return remuxed
        frames = decoded or open_medium(path, FRAMES, limits, max_side=SIDE)
        seconds = seconds_of(path)
        return _write_copy(folder, ".webp", lambda copy: _moving_picture(frames, seconds, copy))
    if kind is not None and kind.reader in SHOWN_PICTURES:
        return path
    image = open_image(decoded[0] if decoded else path, limits, SIDE)
    return _write_copy(folder, ".webp", lambda copy: image.save(copy, "WEBP", quality=90))


def _write_copy(folder: Path, suffix: str, write: Callable[[Path], bool | None]) -> Path | None:
    """Writes a copy into the folder, whole or not at all. Returns None where `write` returns False."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{uuid4().hex}{suffix}"
    try:
        if write(partial) is False:
            return None
        return partial.replace(folder / f"{COPY}{suffix}")
    finally:
        partial.unlink(missing_ok=True)


def _codec(path: Path, kind: Kind) -> str:
    """FFmpeg's name of a video file's codec; "" where there is none."""
    try:
        with (
            opened(path) as (file, name),
            opened_container(file, name, kind) as container,
        ):
            codecs = [stream.codec_context for stream in container.streams.video]
            return codecs[0].name if codecs and codecs[0] is not None else ""
    except av.error.FFmpegError:
        return ""


def _remux(path: Path, kind: Kind, copy: Path) -> bool:
    """Puts a video's packets into another container, without its sound. Returns whether that was possible."""
    try:
        with (
            opened(path) as (file, name),
            opened_container(file, name, kind) as source,
            av.open(str(copy), "w") as target,
        ):
            stream = source.streams.video[0]
            remuxed = target.add_stream_from_template(stream)
            for packet in _with_decoding_times([packet for packet in source.demux(stream) if packet.size]):
                packet.stream = remuxed
                target.mux(packet)
    except (av.error.FFmpegError, ValueError):
        copy.unlink(missing_ok=True)
        return False
    return True


def _with_decoding_times(packets: Sequence[av.Packet]) -> Sequence[av.Packet]:
    """Gives each packet a decoding time: MKV leaves them out before the first frame is shown."""
    first = next((place for place, packet in enumerate(packets) if packet.dts is not None), len(packets))
    begin = packets[first].dts if first < len(packets) else 0
    before = begin - first - 1
    for packet in packets:
        packet.dts = before + 1 if packet.dts is None else packet.dts
        before = packet.dts
    return packets


def _moving_picture(frames: Sequence[Image.Image], seconds: float, copy: Path) -> None:
    """Writes a video's evenly spaced frames as an animated WebP."""
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
