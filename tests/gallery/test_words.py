"""Words looked for in captions."""

import numpy as np
import pytest

from palm_demo.gallery import words
from palm_demo.gallery.words import content_words, lifted, shares


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("bus", "buses"),
        ("a fox", "foxes"),
        ("city", "the cities"),
        ("horse", "horses"),
        ("glass", "Glasses!"),
        ("a mouse", "mice"),
    ],
)
def test_a_noun_and_its_plural_are_one_word(one, other):
    assert shares(content_words(one), [other]) == shares(content_words(other), [one]) == 1


def test_small_words_say_nothing():
    assert content_words("a photo of the") == frozenset()
    assert shares(content_words("the"), ["the cat"]) == 0


def test_what_a_caption_has_of_the_words():
    assert shares(content_words("an astronaut on the moon"), ["An astronaut in space", "sky"]).tolist() == [
        0.5,
        0,
    ]
    assert shares(content_words("astronauts"), ["An astronaut in space"]) == 1


def test_the_words_are_taken_apart_once_however_many_captions_there_are(monkeypatch):
    taken = []
    monkeypatch.setattr(words, "stem", lambda word: taken.append(word) or word)
    wanted = frozenset(f"word{number}" for number in range(100))
    assert len(shares(wanted, ["a cat"] * 50)) == 50
    assert len(taken) == len(wanted) + 50


def test_all_words_are_worth_half_of_what_a_score_lacks():
    scores = lifted(np.array([0.2, 0.2, -1.0]), np.array([0.0, 1.0, 1.0]))
    assert scores == pytest.approx([0.2, 0.6, 0.0])
