"""Pictures and videos from files: checked before they are decoded, by content, not by name."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer
from av.video.stream import VideoStream
from PIL import Image, ImageOps, UnidentifiedImageError

from palm_demo.errors import MediaError

PICTURES = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")


@dataclass(frozen=True)
class MediaLimits:
    """What a medium may be: pixels of a picture or frame, seconds of a video."""

    pixels: int = 25_000_000
    video_seconds: float = 60.0


Picture = str | Path | Image.Image
"""A decoded picture or a file."""

Medium = Picture | Sequence[Image.Image]
"""A picture, a video file, or a video's frames."""


def open_medium(source: Medium, frames: int, limits: MediaLimits) -> list[Image.Image]:
    """One picture, or at most `frames` of a video, evenly spaced from the first to the last.

    Raises MediaError as `open_image` and `open_video` do.
    """
    if isinstance(source, Image.Image):
        return [open_image(source, limits)]
    if isinstance(source, (str, Path)):
        return open_video(source, frames, limits) if is_video(source) else [open_image(source, limits)]
    if not source:
        raise MediaError("a video has no frames; give at least one")
    count = min(frames, len(source))
    chosen = [round(i * (len(source) - 1) / max(1, count - 1)) for i in range(count)]
    return [open_image(source[i], limits) for i in chosen]


def open_image(source: Picture, limits: MediaLimits = MediaLimits()) -> Image.Image:
    """A decoded picture, upright, in its own mode.

    Raises MediaError when the file is missing, no picture, animated, damaged or too large; the
    size is read before a pixel is decoded.
    """
    if isinstance(source, Image.Image):
        _check_pixels("the picture", source.width * source.height, limits)
        return source
    return _decode(source, Path(source).name, limits)


def decode_image(data: bytes, name: str, limits: MediaLimits = MediaLimits()) -> Image.Image:
    """The same of a file's bytes; messages call it by its name."""
    return _decode(BytesIO(data), name, limits)


def _decode(source: str | Path | BinaryIO, name: str, limits: MediaLimits) -> Image.Image:
    try:
        with Image.open(source, formats=PICTURES) as image:
            _check_pixels(name, image.width * image.height, limits)
            # An MPO is a phone's JPEG with a depth map or second view behind the photo.
            if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
                raise MediaError(
                    f"{name} is animated ({image.n_frames} frames); save it as an MP4 video, "
                    "or choose one frame as a PNG"
                )
            image.load()
            return ImageOps.exif_transpose(image)
    except FileNotFoundError as error:
        raise MediaError(f"there is no file {name}") from error
    except UnidentifiedImageError as error:
        raise MediaError(
            f"{name} is not a picture this page can read; use PNG, JPEG, WebP, BMP, GIF or TIFF"
        ) from error
    except Image.DecompressionBombError as error:
        raise MediaError(f"{name} has too many pixels; at most {limits.pixels:,} fit") from error
    except (OSError, SyntaxError, TypeError, ValueError) as error:
        if isinstance(error, MediaError):
            raise
        raise MediaError(f"{name} is damaged and cannot be decoded ({error}); save it anew") from error


def _check_pixels(name: str, pixels: int, limits: MediaLimits) -> None:
    if pixels > limits.pixels:
        raise MediaError(
            f"{name} has {pixels / 1e6:.0f} megapixels; at most {limits.pixels / 1e6:.0f} fit, "
            "make it smaller"
        )
    if pixels == 0:
        raise MediaError(f"{name} has no pixels")


def open_video(source: str | Path, frames: int, limits: MediaLimits = MediaLimits()) -> list[Image.Image]:
    """At most `frames` pictures, evenly spaced from the first frame to the last.

    Raises MediaError when the file is no video, has no video stream, is damaged, too long or too
    large; the probe comes before any decoding.
    """
    name = Path(source).name
    try:
        with av.open(str(source), metadata_errors="ignore") as container:
            if not container.streams.video:
                raise MediaError(f"{name} has no video stream; choose a file with moving pictures")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise MediaError(f"{name} is in a format that cannot be decoded; save it as H.264")
            _check_pixels(name, stream.codec_context.width * stream.codec_context.height, limits)
            seconds = _seconds(container, stream)
            if seconds > limits.video_seconds:
                raise MediaError(
                    f"{name} is {seconds:.0f} seconds long; at most {limits.video_seconds:.0f} fit, "
                    "cut it shorter"
                )
            kept = _sample(container, stream, seconds, frames)
    except FileNotFoundError as error:
        raise MediaError(f"there is no file {name}") from error
    except av.error.FFmpegError as error:
        raise MediaError(f"{name} is not a video this page can read ({error.strerror})") from error
    if not kept:
        raise MediaError(f"{name} holds no frame that can be decoded; save it anew")
    return kept


def _seconds(container: InputContainer, stream: VideoStream) -> float:
    """The stream's length as its header gives it, or else as its last packet does."""
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is not None:
        return container.duration / av.time_base
    ends = [packet.pts + (packet.duration or 0) for packet in container.demux(stream) if packet.pts]
    container.seek(0)
    return float(max(ends) * stream.time_base) if ends else 0.0


def _sample(container: InputContainer, stream: VideoStream, seconds: float, count: int) -> list[Image.Image]:
    """One pass over the file, keeping the frames nearest to `count` evenly spaced times."""
    one_frame = 1 / float(stream.average_rate) if stream.average_rate else 0.0
    spacing = max(0.0, seconds - one_frame) / max(1, count - 1)
    kept: list[Image.Image] = []
    start = None
    for frame in container.decode(stream):
        at = frame.time or 0.0
        start = at if start is None else start
        if at - start + one_frame / 2 >= len(kept) * spacing:
            kept.append(frame.to_image())
        if len(kept) == count:
            break
    return kept


def is_video(source: str | Path) -> bool:
    """Whether a file's first bytes are those of a video container."""
    try:
        with open(source, "rb") as file:
            head = file.read(16)
    except OSError:
        return False
    iso = head[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"wide")
    riff = head[:4] == b"RIFF" and head[8:12] == b"AVI "
    matroska, ogg, mpeg = b"\x1a\x45\xdf\xa3", b"OggS", (b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3")
    return iso or riff or head[:4] in (matroska, ogg, *mpeg)
