"""Examples of the page are right: of each preset a hundred are drawn and asked, each once."""

from random import Random

import pytest

import palm_demo
from palm_demo import world
from palm_demo.ui.flamingo.presets import SETS, TILES
from palm_demo.ui.flamingo.samples import right_answers
from palm_demo.ui.photographs import ExamplePhoto

CASES, FEWEST_RIGHT, AT_ONCE = 100, 95, 25


@pytest.fixture(scope="module")
def session() -> palm_demo.Session:
    return palm_demo.load("tiny")


@pytest.mark.slow
@pytest.mark.parametrize("draw", [pytest.param(draw, id=name) for name, draw in (TILES | SETS).items()])
def test_a_preset_is_right_95_times_of_100(session, draw):
    asked = [draw(Random(f"preset/{seed}")) for seed in range(CASES)]
    said = []
    for begin in range(0, CASES, AT_ONCE):
        some = asked[begin : begin + AT_ONCE]
        media = [[_drawn(medium) for medium in question.media] for question in some]
        said += session.answers([question.prompt for question in some], media)
    wrong = [
        f"{question.prompt} -> {answer!r}, not {question.answer!r}"
        for question, answer in zip(asked, said, strict=True)
        if answer.strip() not in right_answers(question)
    ]
    assert len(wrong) <= CASES - FEWEST_RIGHT, "\n".join([f"{CASES - len(wrong)} of {CASES}", *wrong])


def _drawn(medium: world.Scene | world.MovingScene | ExamplePhoto):
    if isinstance(medium, ExamplePhoto):
        return medium.file
    return world.frames(medium) if isinstance(medium, world.MovingScene) else world.render(medium)
