"""Words as people type them, as captions have them."""

import pytest

from palm_demo import world
from palm_demo.inference.phrases import phrase, thing


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("dog", "a dog"),
        ("Dog", "a dog"),
        ("  red   apple ", "a red apple"),
        ("hourglass", "an hourglass"),
        ("Unicorn!", "a unicorn"),
        ("a dog", "a dog"),
        ("two dogs", "two dogs"),
        ("3 dogs", "3 dogs"),
        ("dogs", "a dog"),
        ("mice", "a mouse"),
        ("gizmos", "gizmos"),
        ("white mice", "white mice"),
        ("bus", "a bus"),
        ("fox on a blue background", "a fox on a blue background"),
        ("foxes on a blue background", "a fox on a blue background"),
        ("cat and dog", "a cat and a dog"),
        ("couch and lamp", "a couch and lamp"),
        ("photo of a dog", "a dog"),
        ("show me pictures of dogs", "a dog"),
        ("zzzz qqq", "a zzzz qqq"),
        ("what is this?", "what is this?"),
        ("猫", "a 猫"),
        ("", ""),
        ("?", "?"),
    ],
)
def test_words_are_read_as_captions_have_them(typed, read):
    assert phrase(typed) == read


@pytest.mark.parametrize("name", world.concepts())
def test_every_noun_of_the_world_gets_its_own_article(name):
    assert phrase(name) == phrase(world.with_article(name)) == world.with_article(name)


def test_a_phrase_is_about_what_stands_before_where_it_is():
    assert thing("a cow to the left of a lipstick on a gray background") == "a cow"
    assert thing("a fox on a blue background") == "a fox"
    assert thing("a red apple") == "a red apple"
