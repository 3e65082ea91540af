"""Sample files to try the models on: drawings, a video and a text, written where somebody asks for them."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

from PIL import Image

from palm_demo.installation import ASSETS
from palm_demo.world.motion import MovingScene, frames
from palm_demo.world.orders import Order, made_to_order
from palm_demo.world.rendering import render
from palm_demo.world.things import Scene
from palm_demo.world.videos import write_video

SIDE = 192
DRAWN = {
    "cat": Order("cat", color="blue"),
    "cat-and-apple": Order("cat", other="red apple", relation="left", color="white"),
    "foxes": Order("fox", count=3, color="green"),
    # things that no model was trained on, for words of one's own
    "dax": Order("koala", color="white"),
    "wug": Order("octopus", color="yellow"),
    "dax-or-wug": Order("octopus", color="pink", style="fluent-emoji-flat"),
    "car": Order("car", way="left"),
}
"""What each picture shows. The one that moves is a video."""

TEXT = "proverbs.txt"
"""300 proverbs, which a scope can be taught."""


def write_samples(folder: Path | str) -> list[Path]:
    """Write the samples into a folder, which is made where it is missing; returns their paths.

    They are the same each time. A file that is there already stays as it is. Raises OSError where the
    folder cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, order in DRAWN.items():
        path = folder / f"{name}{'.png' if order.way is None else '.mp4'}"
        if not path.exists():
            write_scene(path.with_suffix(""), made_to_order(Random(name), order))
        paths.append(path)
    text = folder / TEXT
    if not text.exists():
        shutil.copyfile(ASSETS / TEXT, text)
    return [*paths, text]


def write_scene(stem: Path, scene: Scene | MovingScene) -> tuple[Path, Image.Image]:
    """Write a scene as stem.png, or as stem.mp4 when it moves; returns the path and one picture of it."""
    if isinstance(scene, MovingScene):
        pictures = frames(scene, count=16, size=SIDE)
        return write_video(stem.with_suffix(".mp4"), pictures, fps=8), pictures[0]
    picture, path = render(scene, SIDE), stem.with_suffix(".png")
    picture.save(path)
    return path, picture
