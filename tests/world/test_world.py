"""The picture world: what it holds, how it draws, and what it says about what it drew."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import combinations
from random import Random

import av
import numpy as np
import pytest

from palm_demo import world
from palm_demo.world.atlas import SPRITES, Atlas, parse_noun, read_nouns
from palm_demo.world.backgrounds import COLORS, TEXTURES, Background, paint
from palm_demo.world.build_sprites import VALIDATION_STYLE
from palm_demo.world.scenes import is_visible, touch

SAMPLERS = (world.single_scene, world.pair_scene, world.count_scene)


def scene_of(
    *names: str, kind: str = "single", relation: str | None = None, color: str = "blue"
) -> world.Scene:
    things = tuple(world.Thing(name, "noto", 0.5, 0.5, 0.4) for name in names)
    return world.Scene(things, Background(color, (30, 60, 220)), kind, relation)


def ink(picture, background) -> np.ndarray:
    """Where a picture differs from its plain background: (size, size) of 0 and 1."""
    return (np.abs(np.asarray(picture, float) - background.rgb).max(axis=-1) > 25).astype(float)


def centroid(mask: np.ndarray) -> tuple[float, float]:
    rows, columns = np.indices(mask.shape)
    return (columns * mask).sum() / mask.sum(), (rows * mask).sum() / mask.sum()


# what it holds


def test_there_are_400_trained_and_40_unseen_concepts_and_none_is_both():
    assert len(world.concepts()) >= 400
    assert len(world.unseen()) >= 40
    assert not set(world.concepts()) & set(world.unseen())


def test_the_atlas_holds_what_the_list_of_nouns_says():
    nouns = read_nouns()
    assert [noun.name for noun in nouns if noun.seen] == world.concepts()
    assert [noun.name for noun in nouns if not noun.seen] == world.unseen()


def test_trained_concepts_are_drawn_in_at_least_four_of_the_six_styles():
    atlas = Atlas.load()
    assert atlas.styles == world.STYLES
    assert [name for name in world.concepts() + world.unseen() if len(atlas.styles_of(name)) < 4] == []


def test_every_sprite_shows_something():
    atlas = Atlas.load()
    for style in atlas.styles:
        for concept in atlas.concepts:
            if atlas.has(concept.name, style):
                alpha = atlas.pixels(concept.name, style)[..., 3]
                assert (alpha > 128).mean() > 0.04, (concept.name, style)
                assert alpha[[0, -1]].max() < 128 and alpha[:, [0, -1]].max() < 128, (
                    concept.name,
                    style,
                )


def test_the_validation_style_is_not_shipped_and_the_sheets_stay_small():
    files = [path for path in SPRITES.iterdir() if path.suffix == ".webp"]
    assert VALIDATION_STYLE not in {path.stem for path in files}
    assert sum(path.stat().st_size for path in files) < 8_000_000


def test_articles_and_plurals_are_english():
    atlas = Atlas.load()
    said = {name: (atlas.concept(name).article, atlas.concept(name).plural) for name in world.concepts()}
    assert said["cat"] == ("a", "cats")
    assert said["elephant"] == ("an", "elephants")
    assert said["unicorn"] == ("a", "unicorns")
    assert said["hourglass"] == ("an", "hourglasses")
    assert said["mouse"] == ("a", "mice")
    assert said["wolf"] == ("a", "wolves")


def test_importing_the_world_reads_no_sprites_and_needs_no_model_code():
    code = f"""
import sys, types
package = types.ModuleType("palm_demo")  # bare: the real one brings the models along
package.__path__ = [{str(SPRITES.parents[1] / "palm_demo")!r}]
sys.modules["palm_demo"] = package
import palm_demo.world.atlas
print(palm_demo.world.atlas._load.cache_info().currsize)
print(sorted(sys.modules.keys() & {{"torch", "inflect", "resvg_py"}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["0", "[]"]


def test_a_noun_may_name_its_icon_and_spellings():
    noun = parse_noun("* ear of corn: corn fxemoji=maize noto=-", "food")
    assert (noun.name, noun.seen) == ("ear of corn", False)
    assert [noun.icon_in(style) for style in ("noto", "fxemoji", "fluent-emoji")] == [
        None,
        "maize",
        "corn",
    ]
    assert parse_noun("polar bear", "animal").icon_in("fxemoji") == "polarbear"


# how it draws


@pytest.mark.parametrize("sample", SAMPLERS)
def test_a_seed_fixes_scene_and_picture(sample):
    first, again, other = sample(Random(7)), sample(Random(7)), sample(Random(8))
    assert first == again and first != other
    assert world.render(first).tobytes() == world.render(again).tobytes()


def test_a_seed_fixes_questions_and_the_start_gallery():
    for kind in world.KINDS:
        assert world.sample_question(Random(5), kind) == world.sample_question(Random(5), kind)
    gallery = world.start_gallery(30)
    assert gallery == world.start_gallery(30)
    assert len({text for _, text in gallery}) == 30
    assert all(text == world.caption(scene) for scene, text in gallery)


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


def test_a_style_without_the_drawing_says_which_styles_have_it():
    with pytest.raises(ValueError, match="'fxemoji' has no drawing of 'zebra'; these have: noto"):
        Atlas.load().sprite("zebra", "fxemoji")


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


# what it says


def test_captions_read_as_specified():
    assert world.caption(scene_of("cat")) == "a cat on a blue background"
    pair = scene_of("cat", "red apple", kind="pair", relation="left", color="white")
    assert world.caption(pair) == "a cat to the left of a red apple on a white background"
    assert world.converse(pair) == "a red apple to the right of a cat on a white background"
    tower = scene_of("owl", "egg", kind="pair", relation="above", color="orange")
    assert world.captions(tower) == [
        "an owl above an egg on an orange background",
        "an egg below an owl on an orange background",
    ]
    assert (
        world.caption(scene_of("cat", "cat", "cat", kind="count", color="orange"))
        == "three cats on an orange background"
    )


def test_is_exact_takes_both_orders_and_nothing_else():
    pair = scene_of("cat", "red apple", kind="pair", relation="left", color="white")
    assert world.is_exact("a cat to the left of a red apple on a white background", pair)
    assert world.is_exact(" a red apple to the right of a cat on a white background\n", pair)
    for wrong in (
        "a red apple to the left of a cat on a white background",
        "a cat to the right of a red apple on a white background",
        "a cat above a red apple on a white background",
        "a cat to the left of a red apple on a gray background",
        "a cat to the left of an red apple on a white background",
        "a cat on a white background",
        "",
    ):
        assert not world.is_exact(wrong, pair)


@pytest.mark.parametrize("kind", world.KINDS)
def test_each_media_mark_has_its_scene(kind):
    rng = Random(11)
    for _ in range(50):
        question = world.sample_question(rng, kind)
        assert question.kind == kind
        assert question.prompt.count(world.MEDIA) == len(question.media)
        assert question.prompt.endswith((" answer:", " caption:", " this is a"))
        assert question.answer and question.answer == question.answer.strip()


def test_answers_agree_with_the_scenes():
    rng = Random(12)
    for _ in range(60):
        there = world.sample_question(rng, "is_there")
        asked = there.prompt.split(" is there ")[1].split("?")[0]
        shown = [world.with_article(name) for name in there.media[0].names]
        assert (asked in shown) == (there.answer == "yes")
        which = world.sample_question(rng, "which_picture")
        asked = which.prompt.split(" has ")[1].split("?")[0]
        holders = [i for i, scene in enumerate(which.media) if asked in map(world.with_article, scene.names)]
        assert [("the first", "the second", "the third")[i] for i in holders] == [which.answer]
        where = world.sample_question(rng, "what_is_where")
        scene = where.media[0]
        said = (
            where.prompt.split(" what is ")[1]
            .split("?")[0]
            .replace(" the ", " a ")
            .replace("to a ", "to the ")
        )
        reading = f"{where.answer} {said} on {world.caption(scene).split(' on ')[-1]}"
        known = next(name for name in scene.names if world.with_article(name) != where.answer)
        assert world.is_exact(reading.replace(f" a {known}", f" {world.with_article(known)}"), scene)


def test_yes_and_no_are_balanced():
    rng = Random(13)
    answers = Counter(world.sample_question(rng, "is_there").answer for _ in range(400))
    assert 160 < answers["yes"] < 240


def test_few_shot_naming_uses_new_words_and_repeats_a_shown_thing():
    rng = Random(14)
    real = {word for name in world.concepts() + world.unseen() for word in name.split()}
    for _ in range(100):
        question = world.sample_question(rng, "few_shot_naming", names=world.unseen())
        words = [shot.split(".")[0] for shot in question.prompt.split("this is a ")[1:]]
        assert 2 <= len(words) == len(set(words)) <= 4
        assert not set(words) & real
        names = [scene.names[0] for scene in question.media]
        assert set(names) <= set(world.unseen())
        assert names.index(names[-1]) == words.index(question.answer)


# how it moves


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


def test_the_card_states_every_sheet_with_its_version():
    card = (SPRITES / "README.md").read_text(encoding="utf-8")
    styles = json.loads((SPRITES / "atlas.json").read_text(encoding="utf-8"))["styles"]
    for sheet in styles.values():
        drawn = sum(cell is not None for cell in sheet["cells"])
        assert f"| `{sheet['file']}` | {drawn} | `{sheet['package']}` | {sheet['version']} |" in card
    assert f"drawings of {len(world.concepts()) + len(world.unseen())} everyday things" in card
