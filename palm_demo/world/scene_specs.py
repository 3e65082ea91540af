"""Draws scenes to order, what the order leaves open at random, and writes sample files of them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from random import Random

from PIL import Image

from palm_demo.installation import ASSETS
from palm_demo.world.atlas import Atlas
from palm_demo.world.backgrounds import COLORS
from palm_demo.world.captions import NUMBERS, OPPOSITE, RELATIONS, backdrop, caption, converse, with_article
from palm_demo.world.motion import CHANGES, WAYS, MovingScene, frames, moving_scene, write_video
from palm_demo.world.rendering import render
from palm_demo.world.scenes import COUNTS, Scene, arrange_pair, count_scene, pair_scene, single_scene

MOST = max(COUNTS)
"""The most copies of one thing in a scene."""

MOVES = {"left": "to the left", "right": "to the right", "up": "up", "down": "down"}


@dataclass(frozen=True)
class SceneSpec:
    """A scene as somebody asks for it: one thing, several of it, two things, or one that moves.

    Attributes:
        other: a second thing in the scene.
        relation: where `name` stands to `other`: "left", "right", "above" or "below".
        way: how it moves, one of WAYS.
        color: of the background; None for any.
        style: of the drawing; None for any.
    """

    name: str
    count: int = 1
    other: str | None = None
    relation: str = "left"
    way: str | None = None
    color: str | None = None
    style: str | None = None


def scene_of_spec(rng: Random, spec: SceneSpec, atlas: Atlas | None = None) -> Scene | MovingScene:
    """A scene that shows what a spec asks for.

    Raises ValueError, naming the value and the remedy, for what the world does not have and for what
    does not fit into one scene.
    """
    atlas = atlas or Atlas.load()
    _check(spec, atlas)
    styles = None if spec.style is None else (spec.style,)
    drawing = {"styles": styles, "names": [spec.name], "color": spec.color, "atlas": atlas}
    if spec.way is not None:
        return moving_scene(rng, spec.way, **drawing)
    if spec.other is not None:
        first, second, relation = spec.name, spec.other, spec.relation
        if relation in ("right", "below"):
            first, second, relation = second, first, OPPOSITE[relation]
        return arrange_pair(rng, first, second, relation, styles, spec.color, atlas)
    if spec.count > 1:
        return count_scene(rng, count=spec.count, **drawing)
    return single_scene(rng, **drawing)


def sample_spec(rng: Random, atlas: Atlas | None = None) -> SceneSpec:
    """A random spec of any kind, for things that models are trained on."""
    name, other = rng.sample((atlas or Atlas.load()).trained, 2)
    color = rng.choice(COLORS)
    kinds = (
        SceneSpec(name, color=color),
        SceneSpec(name, color=color, count=rng.choice(COUNTS)),
        SceneSpec(name, color=color, other=other, relation=rng.choice(tuple(RELATIONS))),
        SceneSpec(name, color=color, way=rng.choice(WAYS)),
    )
    return rng.choice(kinds)


def describe_spec(spec: SceneSpec, drawn: Scene | MovingScene, atlas: Atlas | None = None) -> str:
    """Describes the scene that was drawn for a spec. The thing the spec names comes first."""
    if isinstance(drawn, MovingScene):
        does = f"that {drawn.way}" if drawn.way in CHANGES else f"that moves {MOVES[drawn.way]}"
        return f"{with_article(spec.name, atlas)} {does} on {backdrop(drawn.scene.background.color)}"
    turned = drawn.kind == "pair" and drawn.names[0] != spec.name
    return (converse if turned else caption)(drawn, atlas)


def _check(spec: SceneSpec, atlas: Atlas) -> None:
    for name in (spec.name, *([spec.other] if spec.other is not None else [])):
        drawn = atlas.styles_of(name)
        if spec.style is not None and not atlas.has(name, spec.style):
            raise ValueError(
                f"style {spec.style!r} has no drawing of {name!r}; choose any style, or {' or '.join(drawn)}"
            )
    if not isinstance(spec.count, int) or spec.count not in (1, *COUNTS):
        raise ValueError(f"a scene holds 1 to {MOST} of a thing, not {spec.count!r}; ask for another number")
    if spec.relation not in RELATIONS:
        raise ValueError(f"unknown relation {spec.relation!r}; choose one of: {', '.join(RELATIONS)}")
    if spec.way is not None and spec.way not in WAYS:
        raise ValueError(f"unknown way {spec.way!r}; choose one of: {', '.join(WAYS)}")
    if spec.color is not None and spec.color not in COLORS:
        raise ValueError(f"unknown background colour {spec.color!r}; choose one of: {', '.join(COLORS)}")
    several = f"{NUMBERS[spec.count]} of a thing" if spec.count > 1 else None
    beside = f"a thing beside {with_article(spec.other, atlas)}" if spec.other is not None else None
    moving = "a thing that moves" if spec.way is not None else None
    kinds = [kind for kind in (several, beside, moving) if kind]
    if len(kinds) > 1:
        raise ValueError(f"{' and '.join(kinds)} do not fit into one scene; choose one of them")
    if spec.other == spec.name:
        raise ValueError(f"both things are {spec.name!r}; choose another, or one thing and the number 2")


SIDE = 192
DRAWN = {
    "cat": SceneSpec("cat", color="blue"),
    "cat-and-apple": SceneSpec("cat", other="red apple", relation="left", color="white"),
    "foxes": SceneSpec("fox", count=3, color="green"),
    # things that no model was trained on, for words of one's own
    "dax": SceneSpec("koala", color="white"),
    "wug": SceneSpec("octopus", color="yellow"),
    "dax-or-wug": SceneSpec("octopus", color="pink", style="fluent-emoji-flat"),
    "car": SceneSpec("car", way="left"),
}
"""What each sample shows. The one that moves is a video."""

TEXT = "proverbs.txt"
"""A sample text to fine-tune a scope on: 300 proverbs."""


def write_samples(folder: Path | str) -> list[Path]:
    """Writes the samples into a folder, which is made if missing, and returns their paths.

    The samples are the same each time. A file that exists stays as it is. Raises OSError where the
    folder cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, spec in DRAWN.items():
        path = folder / f"{name}{'.png' if spec.way is None else '.mp4'}"
        if not path.exists():
            write_scene(path.with_suffix(""), scene_of_spec(Random(name), spec))
        paths.append(path)
    text = folder / TEXT
    if not text.exists():
        shutil.copyfile(ASSETS / TEXT, text)
    return [*paths, text]


def write_scene(stem: Path, scene: Scene | MovingScene) -> tuple[Path, Image.Image]:
    """Writes a scene as stem.png, or as stem.mp4 if it moves. Returns the path and one picture of it."""
    if isinstance(scene, MovingScene):
        pictures = frames(scene, count=16, size=SIDE)
        return write_video(stem.with_suffix(".mp4"), pictures, fps=8), pictures[0]
    picture, path = render(scene, SIDE), stem.with_suffix(".png")
    picture.save(path)
    return path, picture


def start_gallery(count: int = 240, seed: int = 2022) -> list[tuple[Scene, str]]:
    """Scenes for a new gallery, each with a different caption: half single things, a third pairs, the rest
    counts."""
    rng = Random(seed)
    makers = (single_scene, single_scene, single_scene, pair_scene, pair_scene, count_scene)
    found: dict[str, Scene] = {}
    while len(found) < count:
        scene = makers[len(found) % len(makers)](rng)
        found.setdefault(caption(scene), scene)
    return [(scene, text) for text, scene in found.items()]
