"""Questions as people word them, in the words that Flamingo was trained on."""

import random

import pytest

from palm_demo import world
from palm_demo.inference.prompts import OPENFLAMINGO, OURS
from palm_demo.inference.questions import USUAL, is_trained, usual
from palm_demo.world import wordings
from palm_demo.world.photo_questions import KIND_OF

THINGS = {"is there {}?": "a cat", "which picture has {}?": "an owl"}


@pytest.mark.parametrize(
    ("trained", "wording"), [(trained, wording) for trained, others in USUAL.items() for wording in others]
)
def test_every_plain_wording_is_read_as_the_trained_one(trained, wording):
    thing = THINGS.get(trained, "foxes")
    assert usual(wording.format(thing)) == trained.format(thing)


@pytest.mark.parametrize("wording", wordings.DESCRIBE)
def test_who_wants_a_description_gets_a_caption(wording):
    assert usual(wording) is None


@pytest.mark.parametrize("kind", [kind for kind in world.KINDS if kind != "caption"])
def test_trained_questions_stay_as_they_are(kind):
    for seed in range(20):
        prompt = world.sample_question(random.Random(seed), kind).prompt
        assert OURS.completed(prompt, prompt.count("<media>")) == prompt


@pytest.mark.parametrize("question", KIND_OF)
def test_a_question_for_the_kind_of_a_thing_is_a_trained_one(question):
    for thing in ("cat", "animal"):
        asked = question.format(thing)
        assert usual(asked) == asked and is_trained(asked)


@pytest.mark.parametrize(
    ("typed", "media", "prompt"),
    [
        ("What colour is the background?", 1, "<media> question: what color is the background? answer:"),
        ("Is this a dog?", 1, "<media> question: is there a dog? answer:"),
        ("do you see dogs", 1, "<media> question: is there a dog? answer:"),
        ("is there a cat", 1, "<media> question: is there a cat? answer:"),
        (
            "Is this a photo or a drawing?",
            1,
            "<media> question: is this a photo or a drawing? answer:",
        ),
        (
            "is it a drawing or a photo",
            1,
            "<media> question: is this a photo or a drawing? answer:",
        ),
        ("what does this image show?", 1, "<media> caption:"),
        ("Please describe the photo", 1, "<media> caption:"),
        ("<media> question: what does the picture show? answer:", 1, "<media> caption:"),
        ("What's this?", 1, "<media> question: what is this? answer:"),
        ("which one shows a fox?", 2, "<media> <media> question: which picture has a fox? answer:"),
        ("Is it raining?", 1, "<media> question: is it raining? answer:"),
        ("this is a", 1, "<media> this is a"),
        (
            "<media> question: can you see a cat? answer: yes <media> question: is that a dog? answer:",
            2,
            "<media> question: is there a cat? answer: yes <media> question: is there a dog? answer:",
        ),
    ],
)
def test_what_people_type_becomes_the_prompt_that_was_trained(typed, media, prompt):
    assert OURS.completed(typed, media) == prompt
    assert OURS.completed(prompt, media) == prompt


def test_weights_of_others_are_asked_in_the_words_that_were_typed():
    asked = OPENFLAMINGO.completed("What colour is it?", 1)
    assert asked == "<media> Question:What colour is it? Short answer:"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wording", "least"),
    [
        ("What colour is the background?", 0.95),
        ("Is this {}?", 0.9),
        ("Do you see {}?", 0.9),
        ("What does the picture show?", 0.85),
        ("Describe this picture.", 0.85),
    ],
)
def test_plain_wordings_are_answered_right_of_80_drawings(session, wording, least):
    scenes = [world.single_scene(random.Random(f"plain/{number}")) for number in range(80)]
    asked, right = [], []
    for number, scene in enumerate(scenes):
        rng = random.Random(number)
        name = scene.names[0] if rng.random() < 0.5 else rng.choice(world.concepts())
        asked.append(wording.format(world.with_article(name)))
        if "{}" in wording:
            right.append({"yes" if name == scene.names[0] else "no"})
        else:
            right.append({scene.background.color} if "background" in wording else set(world.captions(scene)))
    said = session.answers(asked, [[world.render(scene)] for scene in scenes])
    assert sum(a in those for a, those in zip(said, right, strict=True)) >= least * len(scenes)
