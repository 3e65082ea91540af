"""What is said and asked about scenes."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from palm_demo import world
from tests.world.drawn import scene_of


def test_a_seed_fixes_questions_and_the_start_gallery():
    for kind in world.KINDS:
        assert world.sample_question(Random(5), kind) == world.sample_question(Random(5), kind)
    gallery = world.start_gallery(30)
    assert gallery == world.start_gallery(30)
    assert len({text for _, text in gallery}) == 30
    assert all(text == world.caption(scene) for scene, text in gallery)


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


def test_names_that_are_too_few_for_a_question_are_refused():
    scene = world.single_scene(Random(0), names=["cat"])
    with pytest.raises(ValueError, match="no name but those that are shown: cat; give more names"):
        for seed in range(20):
            world.ask(Random(seed), "is_there", (scene,), names=["cat"])


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
