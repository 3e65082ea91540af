"""Moving scenes: one thing that travels, grows or shrinks, as frames and as a video file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import av
from PIL import Image

from palm_demo.world.atlas import Atlas
from palm_demo.world.rendering import Alter, render
from palm_demo.world.scenes import Scene, single_scene

DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
CHANGES = ("grows", "shrinks")
WAYS = (*DIRECTIONS, *CHANGES)


@dataclass(frozen=True)
class MovingScene:
    """A scene with one thing that moves or changes its size.

    Attributes:
        scene: the first frame.
        way: one of WAYS.
        travel: how far the thing's centre goes until the last frame, in fractions of the frame.
        growth: the factor by which its size changes until the last frame.
    """

    scene: Scene
    way: str
    travel: tuple[float, float] = (0.0, 0.0)
    growth: float = 1.0

    @property
    def names(self) -> tuple[str, ...]:
        return self.scene.names

    def at(self, moment: float) -> Scene:
        """The scene at a moment between 0 (first frame) and 1 (last frame)."""
        thing = self.scene.things[0]
        moved = replace(
            thing,
            x=thing.x + moment * self.travel[0],
            y=thing.y + moment * self.travel[1],
            size=thing.size * self.growth**moment,
        )
        return replace(self.scene, things=(moved,))


def moving_scene(
    rng: Random,
    way: str | None = None,
    *,
    styles: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    color: str | None = None,
    atlas: Atlas | None = None,
) -> MovingScene:
    """A thing that goes left, right, up or down, or grows or shrinks, and stays inside the frame."""
    way = way or rng.choice(WAYS)
    if way not in WAYS:
        raise ValueError(f"unknown way {way!r}; choose one of: {', '.join(WAYS)}")
    still = single_scene(rng, styles=styles, names=names, color=color, atlas=atlas)
    if way in CHANGES:
        return _change(rng, still, way)
    return _travel(rng, still, way)


def _travel(rng: Random, still: Scene, way: str) -> MovingScene:
    thing = replace(still.things[0], size=rng.uniform(0.3, 0.5))
    reach = thing.reach
    room = 1 - 2 * reach
    length = rng.uniform(0.6, 1) * room
    start = reach + rng.uniform(0, room - length)
    side = rng.uniform(reach, 1 - reach)
    dx, dy = DIRECTIONS[way]
    begin = start if dx + dy > 0 else start + length
    x, y = (begin, side) if dx else (side, begin)
    thing = replace(thing, x=x, y=y)
    return MovingScene(replace(still, things=(thing,)), way, (dx * length, dy * length))


def _change(rng: Random, still: Scene, way: str) -> MovingScene:
    small = rng.uniform(0.25, 0.4)
    growth = rng.uniform(1.6, 2.2)
    large = replace(still.things[0], size=small * growth)
    if large.reach > 0.5:
        large = replace(large, angle=0.0)
    x, y = (rng.uniform(large.reach, 1 - large.reach) for _ in range(2))
    first = replace(large, x=x, y=y, size=small if way == "grows" else large.size)
    return MovingScene(replace(still, things=(first,)), way, growth=growth if way == "grows" else 1 / growth)


def frames(
    moving: MovingScene,
    count: int = 8,
    size: int = 96,
    alter: Alter | None = None,
    atlas: Atlas | None = None,
) -> list[Image.Image]:
    """Draws `count` RGB pictures of size x size pixels, evenly spaced from the first moment to the last."""
    if count < 2:
        raise ValueError(f"{count} frame cannot show a movement; ask for at least 2")
    return [render(moving.at(index / (count - 1)), size, alter, atlas) for index in range(count)]


def write_video(path: Path | str, frames: Sequence[Image.Image], fps: int = 8) -> Path:
    """Write RGB pictures of one even size as an H.264 mp4; returns the path.

    Raises ValueError for no frames, differing sizes or odd sides, which yuv420p cannot hold.
    """
    if not frames:
        raise ValueError("a video needs at least 1 frame, got 0")
    sizes = {frame.size for frame in frames}
    if len(sizes) > 1:
        raise ValueError(f"frames differ in size: {sorted(sizes)}; resize them to one size")
    width, height = frames[0].size
    if width % 2 or height % 2:
        raise ValueError(f"frames of {width} x {height} pixels have an odd side; make both even")
    path = Path(path)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "16", "preset": "veryfast"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode(None))
    return path
