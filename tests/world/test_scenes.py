"""Scenes: what they show, how they are drawn, and which pairs are held out."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import combinations
from random import Random

import numpy as np
import pytest

from palm_demo import world
from palm_demo.world.atlas import Atlas
from palm_demo.world.backgrounds import COLORS, LARGEST_SIDE, TEXTURES, Background, paint
from palm_demo.world.scenes import is_visible, touch
from tests.world.drawn import ink, scene_of

SAMPLERS = (world.single_scene, world.pair_scene, world.count_scene)


@pytest.mark.parametrize("sample", SAMPLERS)
def test_a_seed_fixes_scene_and_picture(sample):
    first, again, other = sample(Random(7)), sample(Random(7)), sample(Random(8))
    assert first == again and first != other
    assert world.render(first).tobytes() == world.render(again).tobytes()


@pytest.mark.parametrize("sample", SAMPLERS)
def test_things_lie_whole_inside_the_frame_and_apart(sample):
    rng = Random(1)
    for _ in range(300):
        scene = sample(rng)
        for thing in scene.things:
            assert thing.reach - 1e-9 <= thing.x <= 1 - thing.reach + 1e-9 or scene.kind == "single"
            assert thing.reach - 1e-9 <= thing.y <= 1 - thing.reach + 1e-9 or scene.kind == "single"
        if scene.kind == "count":
            assert not any(touch(a, b) for a, b in combinations(scene.things, 2))


def test_single_things_are_large_and_drawn_whole():
    rng = Random(2)
    plain = Background("gray", (127, 127, 127))
    for _ in range(60):
        thing = replace(world.single_scene(rng).things[0], tint=(255, 0, 0))
        assert 0.45 <= thing.size <= 0.9
        # on a frame twice as wide nothing more of the thing comes to light
        apart = replace(thing, x=0.5, y=0.5, size=thing.size / 2)
        shown = ink(world.render(world.Scene((thing,), plain, "single"), 96), plain).sum()
        whole = ink(world.render(world.Scene((apart,), plain, "single"), 192), plain).sum()
        assert shown == pytest.approx(whole, rel=0.03)


def test_in_a_pair_the_first_thing_is_clearly_left_of_or_above_the_second():
    rng = Random(3)
    seen = Counter()
    for _ in range(300):
        scene = world.pair_scene(rng)
        first, second = scene.things
        across, down = second.x - first.x, second.y - first.y
        along, other = (across, down) if scene.relation == "left" else (down, across)
        assert along >= first.reach + second.reach
        assert along > 2 * abs(other)
        seen[scene.relation] += 1
    assert min(seen["left"], seen["above"]) > 100


def test_count_scenes_show_one_thing_two_to_five_times():
    rng = Random(4)
    counts = Counter()
    for _ in range(200):
        scene = world.count_scene(rng)
        assert len({(thing.name, thing.style) for thing in scene.things}) == 1
        counts[len(scene.things)] += 1
    assert sorted(counts) == [2, 3, 4, 5]


def test_render_gives_rgb_pictures_of_the_size_asked_for():
    scene = world.pair_scene(Random(0))
    for size in (33, 96, 256):
        picture = world.render(scene, size)
        assert (picture.mode, picture.size) == ("RGB", (size, size))
    with pytest.raises(ValueError, match="at least 8"):
        world.render(scene, 4)


def test_the_largest_picture_has_a_background_of_noise_all_over():
    background = Background("gray", (127, 127, 127), "noise", strength=0.1, seed=60)
    scene = replace(scene_of("cat"), background=background)
    assert world.render(scene, LARGEST_SIDE).size == (LARGEST_SIDE, LARGEST_SIDE)
    with pytest.raises(ValueError, match="1100 pixels wide; ask for at least 8, at most 1024"):
        world.render(scene, 1100)


def test_every_background_stays_near_its_own_colour():
    rng = Random(5)
    for color in COLORS:
        for texture in TEXTURES:
            sampled = world.sample_background(rng, color)
            background = Background(
                color, sampled.rgb, texture, sampled.strength, sampled.angle, sampled.period
            )
            assert np.abs(paint(background, 48).mean(axis=(0, 1)) - sampled.rgb).max() < 30
    with pytest.raises(ValueError, match="unknown background colour 'teal'"):
        world.sample_background(rng, "teal")


def test_black_silhouettes_turn_light_on_black():
    for seed in range(20):
        scene = world.single_scene(Random(seed), styles=["fluent-emoji-high-contrast"], color="black")
        assert np.asarray(world.render(scene)).max() > 200


def test_things_stand_out_from_their_background():
    rng = Random(6)
    scenes = [world.single_scene(rng) for _ in range(150)]
    assert all(
        is_visible(thing, scene.background, Atlas.load()) for scene in scenes for thing in scene.things
    )
    ghost = replace(scene_of("ghost").things[0], tint=(250, 250, 250))
    assert not is_visible(ghost, Background("white", (255, 255, 255)), Atlas.load())


def test_augment_keeps_shape_and_never_empties_a_sprite():
    rng = Random(0)
    atlas = Atlas.load()
    changed = 0
    for name in world.concepts()[::8]:
        sprite = atlas.pixels(name, "noto")
        before = sprite.copy()
        after = world.augment(sprite, rng, strength=3)
        assert after.shape == sprite.shape and after.dtype == np.uint8
        assert (sprite == before).all()
        assert after[..., 3].astype(int).sum() > sprite[..., 3].astype(int).sum() * 0.4
        changed += (after != before).any()
    assert changed > 30


def test_styles_and_names_can_be_restricted():
    rng = Random(9)
    for sample in SAMPLERS:
        for _ in range(30):
            scene = sample(rng, styles=["noto-v1", "fxemoji"])
            assert {thing.style for thing in scene.things} <= {"noto-v1", "fxemoji"}
            assert set(sample(rng, names=world.unseen()).names) <= set(world.unseen())
    assert not set(world.single_scene(rng).names) & set(world.unseen())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ["dragonfruit"]}, "unknown concept 'dragonfruit'"),
        ({"styles": ["cubism"]}, "unknown style 'cubism'; this atlas has: noto"),
        ({"color": "teal"}, "unknown background colour 'teal'"),
        ({"names": ["zebra"], "styles": ["fxemoji"]}, "none of 1 names is drawn in fxemoji"),
    ],
)
def test_a_wrong_choice_is_named_in_the_error(options, message):
    with pytest.raises(ValueError, match=message):
        world.single_scene(Random(0), **options)


# held-out pairs


def test_one_pair_in_ten_is_held_out_in_either_order():
    pairs = list(combinations(world.concepts(), 2))
    share = sum(world.held_out_pair(*pair) for pair in pairs) / len(pairs)
    assert 0.09 < share < 0.11
    assert all(world.held_out_pair(a, b) == world.held_out_pair(b, a) for a, b in pairs[:500])


def test_training_never_shows_a_held_out_pair_and_the_test_shows_nothing_else():
    rng = Random(10)
    assert not any(world.held_out_pair(*world.pair_scene(rng).names) for _ in range(500))
    assert all(world.held_out_pair(*world.pair_scene(rng, held_out=True).names) for _ in range(100))
    for _ in range(300):
        for scene in world.sample_question(rng).media:
            assert len(set(scene.names)) == 1 or not world.held_out_pair(*scene.names)
