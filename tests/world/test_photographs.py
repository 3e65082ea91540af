"""What photographs are called, and what is asked about them."""

import random

import pytest

from palm_demo import world
from palm_demo.training.objectives import meaning
from palm_demo.training.world_text import question_reading
from palm_demo.world.photographs import above, named

CLASSES = world.photo_classes()


def sampled(kind: str, count: int = 40) -> list[world.Question]:
    rng, found = random.Random(0), []
    while len(found) < count:
        question = world.sample_photo_question(rng)
        if question.kind == kind:
            found.append(question)
    return found


def test_there_is_a_name_for_each_of_imagenets_classes():
    assert len(CLASSES) == 1000
    assert (
        CLASSES[0].name == "tench"
        and CLASSES[281].name == "tabby cat"
        and CLASSES[999].name == "toilet paper"
    )
    names = [noun.name for noun in CLASSES]
    assert all(name == name.lower() and name == name.strip() for name in names)
    # classes that nobody tells apart by a name
    assert {name for name in names if names.count(name) > 1} == {"sunglasses", "ear of corn"}


def test_names_of_both_worlds_mean_the_same():
    shared = set(world.photo_nouns()) & {*world.concepts(), *world.unseen()}
    assert {"teddy bear", "polar bear", "pizza", "violin"} <= shared and len(shared) > 130
    assert "kite" not in shared  # the bird is no toy


@pytest.mark.parametrize(
    "name, caption",
    [
        ("tabby cat", "a photo of a tabby cat"),
        ("umbrella", "a photo of an umbrella"),
        ("unicycle", "a photo of a unicycle"),
        ("hourglass", "a photo of an hourglass"),
        ("hay", "a photo of hay"),
        ("sunglasses", "a photo of sunglasses"),
    ],
)
def test_captions_are_english(name, caption):
    assert world.photo_caption(name) == caption


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="no photograph is called 'wug'"):
        world.photo_caption("wug")


def test_everyday_words_stand_above_names():
    assert {"cat", "pet", "animal"} <= set(above("tabby cat"))
    assert {"dog", "hound"} <= set(above("beagle")) and "cat" not in above("beagle")
    assert "vehicle" in above("ambulance") and "food" in above("pizza")
    assert named("animal") == "an animal" and named("furniture") == "furniture"
    assert {"cat", "dog", "bird", "insect", "fish", "vehicle", "tool", "pet", "fruit"} <= set(
        world.everyday_words()
    )


@pytest.mark.parametrize(
    "name, usual",
    [
        ("tabby cat", "cat"),
        ("great white shark", "shark"),  # and not fish, which is wider
        ("crash helmet", "helmet"),
        ("umbrella", "umbrella"),  # the drawn world has it
        ("newt", "newt"),  # the drawn world has no word above it
    ],
)
def test_a_usual_name_is_the_narrowest_that_the_drawn_world_has(name, usual):
    assert world.usual_name(name) == usual


def test_what_is_this_is_answered_by_the_usual_name_and_what_kind_by_its_own():
    for kind, name_of in (("photo_name", world.usual_name), ("photo_kind", str)):
        for question in sampled(kind):
            assert question.answer == named(name_of(question.media[0].name)), question.prompt
    for question in sampled("photo_caption"):
        assert question.answer == f"a photo of {named(world.usual_name(question.media[0].name))}"


def test_yes_is_said_of_names_and_words_above_them_and_no_of_all_else():
    answers = []
    for question in sampled("photo_is_there", 200):
        true = {named(word) for word in (question.media[0].name, *above(question.media[0].name))}
        asked = question.prompt.split("question: ")[1].removesuffix("? answer:")
        told = [thing for thing in true if f" {asked} ".count(f" {thing} ")]
        assert question.answer == ("yes" if told else "no"), question.prompt
        answers.append(question.answer)
    assert 60 < answers.count("yes") < 140


def test_which_photograph_is_the_one_alone_that_fits():
    for question in sampled("which_photo"):
        place = ("first", "second", "third").index(question.answer.removeprefix("the "))
        fitting = [
            at
            for at, photo in enumerate(question.media)
            if any(f" {named(word)}" in question.prompt for word in (photo.name, *above(photo.name)))
        ]
        assert place in fitting and question.prompt.count(world.MEDIA) == len(question.media)


def test_a_photograph_means_its_name_and_that_it_is_one(tokenizer):
    assert meaning(world.Photograph("tabby cat")) == ["tabby cat", "photo"]
    question = sampled("photo_caption", 1)[0]
    reading = question_reading(question, tokenizer)
    assert len(reading.meanings) == 1 and question.answer.startswith("a photo of ")


def test_usual_wordings_stay_the_only_ones_where_plain_ones_are_not_asked_for():
    usual = {world.sample_question(random.Random(seed), "background_color").prompt for seed in range(30)}
    assert usual == {"<media> question: what color is the background? answer:"}


@pytest.mark.parametrize("kind", [kind for kind in world.KINDS if kind != "few_shot_naming"])
def test_plain_wordings_ask_the_same_in_many_ways(kind):
    rng = random.Random(0)
    drawn = [world.sample_question(rng, kind, plain=True) for _ in range(80)]
    wordings = {
        " ".join(
            word
            for word in question.prompt.split()
            if not any(word.strip("?.") in f"{medium}".split("'") for medium in question.media)
        )
        for question in drawn
    }
    assert len(wordings) > 3


def test_plain_questions_are_answered_by_what_is_seen():
    rng = random.Random(1)
    for _ in range(200):
        question = world.sample_question(rng, "caption", plain=True)
        (scene,) = question.media
        if "what is this" in question.prompt or "do you see" in question.prompt:
            assert "background" not in question.answer
            assert all(name.split()[0][:3] in question.answer for name in scene.names)
        elif "caption:" in question.prompt or "describe" in question.prompt:
            assert world.is_exact(question.answer, scene)


def test_one_thing_is_counted_too():
    rng = random.Random(0)
    answers = {world.sample_question(rng, "how_many", plain=True).answer for _ in range(100)}
    assert answers == {"one", "two", "three", "four", "five"}
