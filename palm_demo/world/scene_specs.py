"""Scenes on request: what somebody chose is drawn, the rest is left to chance; and sample files of them."""

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
"""Of one thing in one scene."""

MOVES = {"left": "to the left", "right": "to the right", "up": "up", "down": "down"}


@dataclass(frozen=True)
class SceneSpec:
    """One thing, several of it, two things, or one that moves.

    other: stands in the same scene, where `relation` ("left", "right", "above" or "below") is how `name`
    stands to it. way: one of WAYS. color, style: None for any.
    """

    name: str
    count: int = 1
    other: str | None = None
    relation: str = "left"
    way: str | None = None
    color: str | None = None
    style: str | None = None


def scene_of_spec(rng: Random, order: SceneSpec, atlas: Atlas | None = None) -> Scene | MovingScene:
    """A scene that shows what was ordered.

    Raises ValueError, which names the value and the remedy, for what the world does not have and for
    what cannot be shown together.
    """
    atlas = atlas or Atlas.load()
    _check(order, atlas)
    styles = None if order.style is None else (order.style,)
    drawing = {"styles": styles, "names": [order.name], "color": order.color, "atlas": atlas}
    if order.way is not None:
        return moving_scene(rng, order.way, **drawing)
    if order.other is not None:
        first, second, relation = order.name, order.other, order.relation
        if relation in ("right", "below"):
            first, second, relation = second, first, OPPOSITE[relation]
        return arrange_pair(rng, first, second, relation, styles, order.color, atlas)
    if order.count > 1:
        return count_scene(rng, count=order.count, **drawing)
    return single_scene(rng, **drawing)


def sample_spec(rng: Random, atlas: Atlas | None = None) -> SceneSpec:
    """An order of any kind, for things that models are trained on."""
    name, other = rng.sample((atlas or Atlas.load()).trained, 2)
    color = rng.choice(COLORS)
    kinds = (
        SceneSpec(name, color=color),
        SceneSpec(name, color=color, count=rng.choice(COUNTS)),
        SceneSpec(name, color=color, other=other, relation=rng.choice(tuple(RELATIONS))),
        SceneSpec(name, color=color, way=rng.choice(WAYS)),
    )
    return rng.choice(kinds)


def describe_spec(order: SceneSpec, drawn: Scene | MovingScene, atlas: Atlas | None = None) -> str:
    """What a scene shows, in words, from where it was ordered: the ordered thing comes first."""
    if isinstance(drawn, MovingScene):
        does = f"that {drawn.way}" if drawn.way in CHANGES else f"that moves {MOVES[drawn.way]}"
        return f"{with_article(order.name, atlas)} {does} on {backdrop(drawn.scene.background.color)}"
    turned = drawn.kind == "pair" and drawn.names[0] != order.name
    return (converse if turned else caption)(drawn, atlas)


def _check(order: SceneSpec, atlas: Atlas) -> None:
    for name in (order.name, *([order.other] if order.other is not None else [])):
        drawn = atlas.styles_of(name)
        if order.style is not None and not atlas.has(name, order.style):
            raise ValueError(
                f"style {order.style!r} has no drawing of {name!r}; choose any style, or {' or '.join(drawn)}"
            )
    if not isinstance(order.count, int) or order.count not in (1, *COUNTS):
        raise ValueError(f"a scene holds 1 to {MOST} of a thing, not {order.count!r}; ask for another number")
    if order.relation not in RELATIONS:
        raise ValueError(f"unknown relation {order.relation!r}; choose one of: {', '.join(RELATIONS)}")
    if order.way is not None and order.way not in WAYS:
        raise ValueError(f"unknown way {order.way!r}; choose one of: {', '.join(WAYS)}")
    if order.color is not None and order.color not in COLORS:
        raise ValueError(f"unknown background colour {order.color!r}; choose one of: {', '.join(COLORS)}")
    several = f"{NUMBERS[order.count]} of a thing" if order.count > 1 else None
    beside = f"a thing beside {with_article(order.other, atlas)}" if order.other is not None else None
    moving = "a thing that moves" if order.way is not None else None
    kinds = [kind for kind in (several, beside, moving) if kind]
    if len(kinds) > 1:
        raise ValueError(f"{' and '.join(kinds)} do not fit into one scene; choose one of them")
    if order.other == order.name:
        raise ValueError(f"both things are {order.name!r}; choose another, or one thing and the number 2")


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
            write_scene(path.with_suffix(""), scene_of_spec(Random(name), order))
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


def start_gallery(count: int = 240, seed: int = 2022) -> list[tuple[Scene, str]]:
    """`count` scenes with different captions: half single things, a third pairs, the rest counts."""
    rng = Random(seed)
    makers = (single_scene, single_scene, single_scene, pair_scene, pair_scene, count_scene)
    found: dict[str, Scene] = {}
    while len(found) < count:
        scene = makers[len(found) % len(makers)](rng)
        found.setdefault(caption(scene), scene)
    return [(scene, text) for text, scene in found.items()]
