"""Opens any picture as RGB: upright, in sRGB, on white, 8 bits a channel, and no larger than wanted.

A picture may be a file, bytes, an open file, a Pillow picture, an array or a tensor; the result is the
same. Pillow's decoders are in `palm_demo.media.decoders`, and no other package uses them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps

from palm_demo.errors import MediaError, PalmDemoError
from palm_demo.media.arrays import from_array, to_levels
from palm_demo.media.decoders import DECODERS, check_tags, tile_size
from palm_demo.media.kinds import (
    DEFAULT_LIMITS,
    Kind,
    MediaLimits,
    check_pixels,
    head_of,
    kind_of,
    opened,
    unread,
)

Picture = str | Path | bytes | BinaryIO | Image.Image | np.ndarray | torch.Tensor
"""A file, its bytes, or a decoded picture: rows × columns (× channels) as an array, channels first as a
tensor."""

SHRUNK_WHILE_DECODED = 4
"""A JPEG may have this many times `read_pixels`, because its decoder can leave out the rest."""

SCANS = 12
"""The most scans of a JPEG with `read_pixels` pixels; smaller ones may have more in proportion. Progressive
encoders write about ten."""
MARKER = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")
"""A JPEG marker that starts a segment. Those that occur within a scan are left out."""
START_OF_SCAN, END_OF_IMAGE = b"\xff\xda", b"\xff\xd9"

PHOTOMETRIC = 262
"""A TIFF tag whose value is 0 when the lowest value is white."""

ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition that puts a picture upright, by its EXIF orientation."""

KEPT_PROFILES, KEPT_PROFILE_BYTES = 32, 65_536
"""How many colour transforms are cached, and the largest profile that is. A camera's or browser's profile
has about 3,000 bytes, a printing press's a million."""


def open_image(
    source: Picture, limits: MediaLimits = DEFAULT_LIMITS, max_side: int | None = None
) -> Image.Image:
    """Opens a picture as RGB, shrunk to the limits and to `max_side` pixels where that is given.

    Of an animated picture or one with pages, the first is taken. The size is read before any pixel is
    decoded. Raises MediaError when the picture is missing, is not a picture, is damaged or is too large.
    """
    if isinstance(source, (np.ndarray, torch.Tensor)):
        return _of_pillow(from_array(source), limits, max_side)
    if isinstance(source, Image.Image):
        return _of_pillow(source, limits, max_side)
    if not isinstance(source, (str, Path, bytes, bytearray, memoryview)) and not hasattr(source, "read"):
        raise MediaError(
            f"{source!r:.40} is not a picture but a {type(source).__name__}; give a path, bytes, an open "
            "file, a Pillow picture, an array or a tensor"
        )
    with opened(source) as (file, name):
        return _decode(file, name, limits, max_side)


def decode_image(
    data: bytes, name: str, limits: MediaLimits = DEFAULT_LIMITS, max_side: int | None = None
) -> Image.Image:
    """Decodes a file's bytes as `open_image` does. Messages call it by `name`."""
    return _decode(BytesIO(data), name, limits, max_side)


def parsed(file: BinaryIO, name: str, kind: Kind) -> Image.Image:
    """Reads a picture's size and frames without decoding a pixel. Raises MediaError if it is damaged."""
    with damage(name):
        if kind.reader == "TIFF":
            check_tags(file, name)
        return DECODERS[kind.reader](file)


@contextmanager
def damage(name: str) -> Iterator[None]:
    """Turns whatever a decoder raises inside into a MediaError: the file is at fault."""
    try:
        yield
    except (PalmDemoError, MemoryError):
        raise
    except Exception as error:  # struct.error, KeyError, ZeroDivisionError and others, on damaged files
        why = str(error) or type(error).__name__
        raise MediaError(f"{name} is damaged and cannot be decoded ({why:.200}); save it anew") from error


def _check_scans(file: BinaryIO, size: tuple[int, int], name: str, limits: MediaLimits) -> None:
    """Raises MediaError where a JPEG has very many scans: each may be a few bytes and costs a pass over all
    pixels."""
    place = file.tell()
    file.seek(0)
    data, scans, at = file.read(), 0, 2
    file.seek(place)
    most = SCANS * limits.read_pixels // max(1, size[0] * size[1])
    while (marker := MARKER.search(data, at)) is not None and marker[0] != END_OF_IMAGE:
        scans += marker[0] == START_OF_SCAN
        if scans > most:
            raise MediaError(
                f"{name} has {size[0] * size[1] / 1e6:.3g} megapixels in more than {most:,} scans, which "
                "take too long to decode; save it anew"
            )
        at = marker.end()
        if marker[0] != START_OF_SCAN:  # what a segment holds may look like markers
            at += max(2, int.from_bytes(data[at : at + 2], "big"))


def _decode(file: BinaryIO, name: str, limits: MediaLimits, max_side: int | None) -> Image.Image:
    head = head_of(file)
    kind = kind_of(head)
    if kind is None:
        raise unread(name, head, "picture")
    if kind.moving:
        raise MediaError(
            f"{name} is not a picture but a video ({kind.name}); choose one of its frames as a PNG"
        )
    image = parsed(file, name, kind)
    with damage(name):
        if kind.reader == "JPEG":
            size = image.size
            _shrink_while_decoding(image, name, limits, max_side)
            _check_scans(file, size, name, limits)
        if kind.reader == "TIFF":
            check_pixels(f"a piece of {name}", *tile_size(image), limits.read_pixels)
        check_pixels(name, *image.size, limits.read_pixels)
        image.load()
    return _shrunk(image, name, limits, max_side)


def _of_pillow(image: Image.Image, limits: MediaLimits, max_side: int | None) -> Image.Image:
    name = "the picture"
    check_pixels(name, *image.size, SHRUNK_WHILE_DECODED * limits.read_pixels)
    with damage(name):
        image.load()
    return _shrunk(image, name, limits, max_side)


def _shrink_while_decoding(image: Image.Image, name: str, limits: MediaLimits, max_side: int | None) -> None:
    """Asks a JPEG decoder for a half, a quarter or an eighth of the sides.

    It asks for the least reduction that keeps the limits and leaves twice `max_side`. A progressive JPEG
    has all its pixels in memory anyway.
    """
    width, height = image.size
    coarse_to_fine = "progressive" in image.info or "progression" in image.info
    check_pixels(name, width, height, limits.read_pixels * (1 if coarse_to_fine else SHRUNK_WHILE_DECODED))
    parts = (1, 2, 4, 8)
    needed = next((part for part in parts if width * height <= limits.pixels * part**2), parts[-1])
    enough = 1 if max_side is None else max(width, height) // (2 * max_side)
    part = max(needed, *(part for part in parts if part <= max(1, enough)))
    if part > 1:
        image.draft(None, (max(1, width // part), max(1, height // part)))


def _shrunk(image: Image.Image, name: str, limits: MediaLimits, max_side: int | None) -> Image.Image:
    """Converts a loaded picture to RGB within the limits."""
    with damage(name):
        if image.width * image.height > limits.pixels:
            image = _averageable(image)
            width, height = image.size
            scale = math.sqrt(limits.pixels / (width * height))
            across = max(1, math.floor(width * scale))
            down = max(1, min(math.floor(height * scale), limits.pixels // across))
            across = max(1, min(across, limits.pixels // down))
            image = image.reduce((math.ceil(width / across), math.ceil(height / down)))
        rgb = to_rgb(image)
        if max_side is not None and max(rgb.size) > max_side:
            scale = max_side / max(rgb.size)
            size = [max(1, round(side * scale)) for side in rgb.size]
            rgb = rgb.resize(size, Image.Resampling.BICUBIC, reducing_gap=1.0)
    return rgb


def _averageable(image: Image.Image) -> Image.Image:
    """Converts a picture to a mode whose pixels can be averaged, if it is in another."""
    if image.mode in ("L", "LA", "RGB", "RGBA", "CMYK", "LAB", "YCbCr") and "transparency" not in image.info:
        return image
    return to_rgb(image)


def to_rgb(image: Image.Image) -> Image.Image:
    """Converts a decoded picture of any mode to RGB: upright, in sRGB, transparent parts on white.

    The result carries no metadata, so converting it again changes nothing. Raises MediaError where its
    values are not colours.
    """
    turn, profile = TURNS.get(_orientation(image)), image.info.get("icc_profile")
    plain = type(image) is Image.Image and image.mode == "RGB" and "transparency" not in image.info
    if plain and turn is None and profile is None:
        return image
    colours, opaque = _split(image)
    rgb = _in_srgb(colours, profile)
    if opaque is not None:
        # What a drawing without a background looks like.
        white = Image.new("RGB", rgb.size, "white")
        white.paste(rgb, mask=opaque)
        rgb = white
    if turn is not None:
        rgb = rgb.transpose(turn)
    if rgb is image or type(rgb) is not Image.Image:
        rgb = rgb.copy()  # away from its file
    rgb.info = {}
    return rgb


def _orientation(image: Image.Image) -> int | None:
    try:
        return image.getexif().get(ORIENTATION)
    except Exception:  # however its EXIF is broken, the picture is there
        return None


def _split(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Colours in a mode that profiles are made for, and each pixel's opacity (None: all opaque)."""
    transparent = image.info.get("transparency")
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        opaque = None
        if isinstance(transparent, int):
            opaque = Image.fromarray(np.where(np.asarray(image) == transparent, 0, 255).astype(np.uint8))
        levels = to_levels(image)
        inverted = getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == 0  # of other modes Pillow sees to that
        return ImageOps.invert(levels) if inverted else levels, opaque
    if isinstance(transparent, tuple) and max(transparent) > 255:  # 16 bits, of which 8 were kept
        image = image.copy()
        image.info["transparency"] = tuple(level >> 8 for level in transparent)
    if image.mode in ("La", "RGBa"):
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if not image.has_transparency_data:
        return (image if image.mode in ("L", "RGB", "CMYK", "LAB") else image.convert("RGB")), None
    if image.mode != "LA":
        image = image.convert("RGBA")
    return image.convert("L" if image.mode == "LA" else "RGB"), image.getchannel("A")


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Converts L, RGB, CMYK or LAB to sRGB. A broken profile, or one for other colours, is ignored."""
    transform = None
    if profile:
        find = _to_srgb if len(profile) <= KEPT_PROFILE_BYTES else _to_srgb.__wrapped__
        transform = find(profile, image.mode)
    if transform is None and image.mode == "LAB":
        transform = _to_srgb(b"", "LAB")
    return image.convert("RGB") if transform is None else ImageCms.applyTransform(image, transform)


@lru_cache(maxsize=KEPT_PROFILES)
def _to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform from a profile (b"": LAB) to sRGB.

    It is None where it would change next to nothing, as with the sRGB profiles that most pictures carry.
    """
    srgb = ImageCms.createProfile("sRGB")
    try:
        source = ImageCms.getOpenProfile(BytesIO(profile)) if profile else ImageCms.createProfile("LAB")
        transform = ImageCms.buildTransform(source, srgb, mode, "RGB")
        if mode not in ("L", "RGB"):
            return transform
        every = np.arange(0, 256, 17, dtype=np.uint8)
        levels = np.stack(np.meshgrid(every, every, every), axis=-1).reshape(len(every), -1, 3)
        sample = Image.fromarray(levels)
        sample = sample if mode == "RGB" else sample.getchannel(0)
        there = np.asarray(ImageCms.applyTransform(sample, transform), dtype=int)
        changed = np.abs(there - np.asarray(sample.convert("RGB"), dtype=int)).max()
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return transform if changed > 1 else None
