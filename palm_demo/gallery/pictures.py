"""What is known of a picture file before a model sees it: what it is, what it looks like, its thumbnail."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import BytesIO

import imagehash
from PIL import Image

from palm_demo.media import MediaLimits, decode_image

THUMBNAIL = 192
"""Pixels of a thumbnail's longer side."""


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
    image = decode_image(original, name, limits)
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
    """64 bits that stay when a picture is resized or compressed anew (pHash, Zauner 2010, section 3.2.1)."""
    return int(str(imagehash.phash(image)), 16)
