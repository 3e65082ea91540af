"""What is known of a picture file before a model sees it: what it is, what it looks like, its thumbnail."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from palm_demo.media import MediaLimits, decode_image

THUMBNAIL = 192
"""Pixels of a thumbnail's longer side."""
SIDE, LOW = 32, 8
"""A perceptual hash keeps the LOW x LOW slowest waves of a picture of SIDE x SIDE pixels."""


@dataclass(frozen=True)
class Pixels:
    """A decoded picture file."""

    id: str
    name: str
    original: bytes
    image: Image.Image
    thumbnail: bytes
    phash: int


def content_id(original: bytes) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    return hashlib.sha256(original).hexdigest()


def decode(original: bytes, name: str, limits: MediaLimits) -> Pixels:
    """A picture file, looked at as far as that needs no model. Raises MediaError as `open_image`."""
    image = decode_image(original, name, limits).convert("RGB")
    return Pixels(content_id(original), name, original, image, thumbnail(image), perceptual_hash(image))


def thumbnail(image: Image.Image) -> bytes:
    """A small WebP of a picture."""
    small = image.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    file = BytesIO()
    small.save(file, "WEBP", quality=85)
    return file.getvalue()


def as_png(image: Image.Image) -> bytes:
    """A picture that is no file yet, as one."""
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def perceptual_hash(image: Image.Image) -> int:
    """64 bits that stay when a picture is resized or compressed anew: which of its slow waves are
    stronger than the median (pHash, Zauner 2010, section 3.2.1)."""
    pixels = image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    waves = COSINES @ np.asarray(pixels, np.float64) @ COSINES.T
    strong = waves.ravel() > np.median(waves.ravel()[1:])  # the first is only how bright it is
    return int.from_bytes(np.packbits(strong).tobytes(), "big")


def _cosines() -> np.ndarray:
    """(LOW, SIDE): the slowest rows of the discrete cosine transform."""
    places, waves = np.arange(SIDE), np.arange(LOW)
    return np.cos(np.pi * (2 * places + 1) * waves[:, None] / (2 * SIDE))


COSINES = _cosines()
