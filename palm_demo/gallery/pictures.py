"""Prepares a picture file without a model: it is decoded, identified, hashed and given a thumbnail."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import imagehash
from PIL import Image

from palm_demo.errors import GalleryError
from palm_demo.gallery.report import why
from palm_demo.gallery.sources import read_regular
from palm_demo.media import MediaLimits, decode_image

THUMBNAIL = 192
"""The longer side of a thumbnail, in pixels."""
MAX_SIDE = 1024
"""The longer side of a decoded picture, in pixels: twice what any vision tower sees, and a tenth of the
memory of 64 phone pictures."""


@dataclass(frozen=True)
class DecodedImage:
    """A picture file, decoded to at most MAX_SIDE.

    Attributes:
        id: the SHA-256 of the file's bytes, in hexadecimal.
        original: the file's bytes.
        thumbnail: a small WebP.
        phash: the perceptual hash, 64 bits.
    """

    id: str
    name: str
    original: bytes
    image: Image.Image
    thumbnail: bytes
    phash: int


def content_id(original: bytes) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    return hashlib.sha256(original).hexdigest()


def decode(original: bytes, name: str, limits: MediaLimits) -> DecodedImage:
    """Decodes a picture file and computes all that needs no model. Raises MediaError as `open_image`
    does."""
    image = decode_image(original, name, limits, MAX_SIDE)
    small = _shrunk(image)
    return DecodedImage(content_id(original), name, original, image, thumbnail(small), perceptual_hash(small))


def original_of(row: dict) -> bytes:
    """A row's picture file, from the row or from its path.

    Raises GalleryError where the file is gone or is another one.
    """
    if row["original"] is not None:
        return row["original"]
    try:
        data = read_regular(Path(row["path"]))
    except (OSError, ValueError) as error:
        raise GalleryError(
            f"{row['name']} is no longer at {row['path']}; put it back there, or remove it from the gallery"
        ) from error
    if content_id(data) != row["id"]:
        raise GalleryError(
            f"{row['path']} is not the file any more that was added as {row['name']}; put that back, or "
            "remove it from the gallery"
        )
    return data


def picture_of(row: dict, limits: MediaLimits) -> tuple[DecodedImage, str | None]:
    """A row's picture decoded. If its file is gone or cannot be decoded, its thumbnail and the reason."""
    try:
        return decode(original_of(row), row["name"], limits), None
    except Exception as error:
        why_not = why_of_original(row, error)
    return decode(row["thumbnail"], row["name"], limits), why_not


def why_of_original(row: dict, error: Exception) -> str:
    """Why a row's file cannot be used. Raises the error again if the file is not at fault."""
    return str(error) if isinstance(error, GalleryError) else why(row["name"], error)


def thumbnail(image: Image.Image) -> bytes:
    """A small WebP of a picture."""
    file = BytesIO()
    _shrunk(image).save(file, "WEBP", quality=85)
    return file.getvalue()


def _shrunk(image: Image.Image) -> Image.Image:
    """A copy whose longer side has at most THUMBNAIL pixels."""
    small = image.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS, reducing_gap=1.0)
    return small


def as_png(image: Image.Image) -> bytes:
    """A picture as the bytes of a PNG file."""
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def perceptual_hash(image: Image.Image) -> int:
    """64 bits that stay when a picture is resized or compressed again (pHash, Zauner 2010, section
    3.2.1).

    It is that of the picture as small as its thumbnail. That costs little where the thumbnail is made
    anyway, and the hash rarely differs from the whole picture's."""
    return int(str(imagehash.phash(_shrunk(image))), 16)
