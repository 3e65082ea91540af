"""The pictures a visitor's search starts from."""

from __future__ import annotations

from random import Random

from palm_demo.world.captions import caption
from palm_demo.world.scenes import count_scene, pair_scene, single_scene
from palm_demo.world.things import Scene


def start_gallery(count: int = 240, seed: int = 2022) -> list[tuple[Scene, str]]:
    """`count` scenes with different captions: half single things, a third pairs, the rest counts."""
    rng = Random(seed)
    makers = (single_scene, single_scene, single_scene, pair_scene, pair_scene, count_scene)
    found: dict[str, Scene] = {}
    while len(found) < count:
        scene = makers[len(found) % len(makers)](rng)
        found.setdefault(caption(scene), scene)
    return [(scene, text) for text, scene in found.items()]
