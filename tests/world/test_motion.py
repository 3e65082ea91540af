"""Moving scenes, and the videos of them."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import av
import numpy as np
import pytest

from palm_demo import world
from tests.world.drawn import centroid, ink


@pytest.mark.parametrize("way", world.WAYS)
def test_frames_show_the_stated_way(way):
    for seed in range(5):
        moving = world.moving_scene(Random(seed), way)
        plain = world.Background("gray", (127, 127, 127))
        thing = replace(moving.scene.things[0], tint=(255, 0, 0))
        moving = world.MovingScene(world.Scene((thing,), plain, "single"), way, moving.travel, moving.growth)
        masks = [ink(picture, plain) for picture in world.frames(moving, count=5)]
        (x0, y0), (x1, y1) = centroid(masks[0]), centroid(masks[-1])
        areas = [mask.sum() for mask in masks]
        shown = {
            "left": x0 - x1 > 10,
            "right": x1 - x0 > 10,
            "up": y0 - y1 > 10,
            "down": y1 - y0 > 10,
            "grows": areas == sorted(areas) and areas[-1] > 1.5 * areas[0],
            "shrinks": areas == sorted(areas, reverse=True) and areas[0] > 1.5 * areas[-1],
        }
        assert [name for name, is_shown in shown.items() if is_shown] == [way]


def test_a_moving_thing_stays_inside_the_frame():
    rng = Random(15)
    for _ in range(200):
        moving = world.moving_scene(rng)
        for moment in (0, 0.5, 1):
            thing = moving.at(moment).things[0]
            assert (
                thing.reach - 1e-6 <= min(thing.x, thing.y)
                and max(thing.x, thing.y) <= 1 - thing.reach + 1e-6
            )


def test_a_written_video_can_be_read_back(tmp_path):
    pictures = world.frames(world.moving_scene(Random(1), "up"), count=6, size=96)
    path = world.write_video(tmp_path / "up.mp4", pictures, fps=6)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        read = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(read) == 6
    assert max(np.abs(a.astype(int) - np.asarray(b)).mean() for a, b in zip(read, pictures, strict=True)) < 12


def test_unwritable_frames_say_why(tmp_path):
    scene = world.single_scene(Random(0))
    with pytest.raises(ValueError, match="at least 1 frame"):
        world.write_video(tmp_path / "a.mp4", [])
    with pytest.raises(ValueError, match="odd side"):
        world.write_video(tmp_path / "a.mp4", [world.render(scene, 95)])
    with pytest.raises(ValueError, match="differ in size"):
        world.write_video(tmp_path / "a.mp4", [world.render(scene, 96), world.render(scene, 64)])
