"""Opens a file that may be a picture or a video: one picture, or evenly spaced frames.

Videos are read by `palm_demo.media.videos`; animated pictures (GIF, WebP, PNG, AVIF) are read here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image

from palm_demo.errors import MediaError
from palm_demo.media.kinds import DecodingBudget, MediaLimits, head_of, kind_of, opened
from palm_demo.media.pictures import Picture, damage, open_image, parsed, to_rgb
from palm_demo.media.videos import nearest, open_video

Medium = Picture | Sequence[Picture]
"""A picture, a video or animated picture, or a list of a video's frames."""

ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
"""Pillow's readers of pictures that can be animated. A TIFF with many pages is a document."""

DEFAULT_FRAME_SECONDS = 0.1
"""How long a frame is shown when the file does not say, as in browsers."""


def open_medium(
    source: Medium,
    frames: int,
    limits: MediaLimits,
    budget: DecodingBudget | None = None,
    max_side: int | None = None,
) -> list[Image.Image]:
    """Opens a picture or a video as RGB pictures: one of a picture, at most `frames` of a video.

    Args:
        source: a picture or video as `Medium` lists them; an array of four dimensions is a video's
            frames.
        frames: the most frames of a video, evenly spaced from the first to the last.
        budget: what the request may still decode; by default a fresh one.
        max_side: the longer side of the returned pictures, in pixels.

    Raises MediaError as `open_image` and `open_video` do.
    """
    budget = budget or DecodingBudget(limits)
    if isinstance(source, Image.Image):
        moving = _animation(source, "the picture", frames, limits, budget)
        return [open_image(one, limits, max_side) for one in moving or [source]]
    if isinstance(source, (np.ndarray, torch.Tensor)) and source.ndim == 4:
        source = list(source)
    if not isinstance(source, (list, tuple)):
        moving = _of_file(source, frames, limits, budget, max_side) if _is_file(source) else []
        return moving or [open_image(source, limits, max_side)]
    if not source:
        raise MediaError("a video has no frames; give at least one")
    return [open_image(source[place], limits, max_side) for place in nearest(range(len(source)), frames)]


def is_video(source: str | Path | bytes | BinaryIO) -> bool:
    """Whether a file moves, judged by its content: a video, or an animated GIF, WebP, PNG or AVIF."""
    try:
        with opened(source) as (file, name):
            kind = kind_of(head_of(file))
            if kind is None or kind.moving or kind.reader not in ANIMATED:
                return kind is not None and kind.moving
            return _moves(parsed(file, name, kind))
    except MediaError:
        return False


def _is_file(source: object) -> bool:
    return isinstance(source, (str, Path, bytes, bytearray, memoryview)) or hasattr(source, "read")


def _of_file(
    source: str | Path | bytes | BinaryIO,
    frames: int,
    limits: MediaLimits,
    budget: DecodingBudget,
    max_side: int | None,
) -> list[Image.Image]:
    """The frames of a file that moves; an empty list for a picture."""
    with opened(source) as (file, name):
        kind = kind_of(head_of(file))
        if kind is None or (not kind.moving and kind.reader not in ANIMATED):
            return []
        if kind.moving:
            return open_video(source, frames, limits, budget, max_side)
        moving = _animation(parsed(file, name, kind), name, frames, limits, budget)
    return [open_image(one, limits, max_side) for one in moving]


def _moves(image: Image.Image) -> bool:
    """Whether there is a second frame. Further frames are not looked for."""
    try:
        return image.format in ANIMATED and bool(getattr(image, "is_animated", False))
    except Exception:  # a damaged file is told when it is decoded
        return False


def _animation(
    image: Image.Image, name: str, count: int, limits: MediaLimits, budget: DecodingBudget
) -> list[Image.Image]:
    """Frames of an animated picture, nearest to evenly spaced times; an empty list if it does not move."""
    if not _moves(image):
        return []
    with _left_as_it_was(image), damage(name), budget.decoding():
        times = []
        seconds = 0.0
        for _ in _walk(image, name, budget):
            times.append(seconds)
            seconds += image.info.get("duration", 0) / 1000 or DEFAULT_FRAME_SECONDS
            if seconds > limits.video_seconds and len(times) > 1:
                raise MediaError(
                    f"{name} is longer than {limits.video_seconds:g} seconds; cut it shorter, or choose one "
                    "frame as a PNG"
                )
        wanted = nearest(times, count)
        kept: dict[int, Image.Image] = {}
        for place in _walk(image, name, budget):
            if place in wanted:
                kept[place] = to_rgb(image.copy())
            if len(kept) == len(set(wanted)):
                break
    return [kept[place] for place in wanted]


def _walk(image: Image.Image, name: str, budget: DecodingBudget) -> Iterator[int]:
    """Decodes one frame after another and yields their numbers."""
    first = 1 if image.info.get("default_image") else 0  # an APNG may have a picture for who shows no others
    place = 0
    while True:
        try:
            image.seek(first + place)
        except EOFError:
            return
        budget.spend(name, *image.size)
        image.load()
        yield place
        place += 1


@contextmanager
def _left_as_it_was(image: Image.Image) -> Iterator[None]:
    """Restores the current frame afterwards, because a picture in memory belongs to the caller."""
    place = image.tell()
    try:
        yield
    finally:
        image.seek(place)
