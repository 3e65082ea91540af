"""Galleries with a stand-in that looks at pictures in microseconds."""

import multiprocessing
from collections.abc import Callable
from datetime import datetime, timezone
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from palm_demo.gallery import MEMORY, Gallery, Report, ingest_pictures, open_gallery
from palm_demo.gallery.captions import captions_beside
from palm_demo.gallery.pictures import thumbnail
from palm_demo.gallery.rows import Row
from palm_demo.gallery.sources import find_files, pictures_of
from palm_demo.media import MediaLimits


class Eye:
    """Latents that are an 8 x 8 thumbnail's colours, captions that are a picture's mean colour."""

    fingerprint, embedding_dim, media_limits = "eye1", 192, MediaLimits()

    def embed_images(self, images) -> np.ndarray:
        rows = np.stack([np.asarray(image.convert("RGB").resize((8, 8)), np.float32) for image in images])
        rows = rows.reshape(len(images), -1) - 127.0
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def embed_and_caption(self, images) -> tuple[np.ndarray, list[str]]:
        return self.embed_images(images), self.captions(images)

    def captions(self, images) -> list[str]:
        means = [np.asarray(image.convert("RGB")).mean(axis=(0, 1)).astype(int) for image in images]
        return [f"seen {'-'.join(map(str, mean))}" for mean in means]


def noise(seed: int, side: int = 64) -> Image.Image:
    """A picture like no other: coarse random colours."""
    colours = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((side, side), Image.Resampling.BICUBIC)


@pytest.fixture
def eye() -> Eye:
    return Eye()


@pytest.fixture
def new_gallery(eye) -> Callable[..., Gallery]:
    return lambda place=MEMORY: open_gallery(place, eye.fingerprint, eye.embedding_dim)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Twelve pictures, two of them in a folder of their own."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    for seed in range(12):
        noise(seed).save(folder / ("more" if seed > 9 else ".") / f"{seed:02}.png")
    return folder


DIM = 16
THUMBNAIL = thumbnail(Image.new("RGB", (8, 8)))


def row_of(number: int) -> Row:
    """A row of DIM numbers, for galleries without a model."""
    embedding = np.random.default_rng(number).standard_normal(DIM).astype(np.float32)
    embedding /= np.linalg.norm(embedding)
    name = f"{number:064}"
    now = datetime.now(timezone.utc)
    return Row(name, name, None, bytes(2000), THUMBNAIL, f"picture {number}", number, now, embedding)


@pytest.fixture(scope="session")
def processes():
    """New processes from one that has imported what they need."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lancedb", "palm_demo.gallery"])
    return context


def png(seed: int) -> bytes:
    """That picture as a file."""
    file = BytesIO()
    noise(seed).save(file, "PNG")
    return file.getvalue()


def add(gallery: Gallery, eye: Eye, place: Path, **options) -> Report:
    """Adds a folder or an archive as the command does, with the captions that lie there."""
    report, files = Report(), find_files(place)
    captions = captions_beside(files, report)
    report.extend(ingest_pictures(gallery, eye, pictures_of(files), captions, **options))
    return report
