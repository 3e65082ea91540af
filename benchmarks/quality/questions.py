"""Flamingo's question forms, and whether it answers from what it should answer from."""

import random
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from PIL import Image

import palm_demo
from benchmarks.quality.rows import Cases, Row, chunks
from palm_demo import world

PICTURES = {
    "what_is_where": "1/454",
    "background_color": "0.100",
    "is_there": "0.500",
    "how_many": "0.250",
    "which_picture": "0.417",
}
VIDEOS = {"way": "0.250", "grows_or_shrinks": "0.500"}
"""Kind of question -> what a guess gets."""

NEW_WORDS = (2, 3, 4)
Shown = Callable[[random.Random, world.Question, list], list]
"""What is done to a question's media before they are shown."""


def questions(session: palm_demo.Session, cases: Cases) -> Iterator[Row]:
    for kind, chance in (PICTURES | VIDEOS).items():
        yield _row(session, cases, kind.replace("_", " "), chance, _asks(kind, cases))
    for kind, chance in VIDEOS.items():
        what = f"{kind.replace('_', ' ')}, frames shuffled"
        yield _row(session, cases, what, chance, _asks(kind, cases), shuffled)
    for words in NEW_WORDS:
        what, asks = f"few-shot naming of things never seen, {words} words", _teaches(words, cases)
        yield _row(session, cases, what, f"{1 / words:.3f}", asks)
        yield _row(session, cases, f"{what}, examples blank", f"{1 / words:.3f}", asks, blank)


def _asks(kind: str, cases: Cases) -> Callable[[random.Random], world.Question]:
    return lambda rng: world.sample_question(rng, kind, atlas=cases.atlas)


def _teaches(words: int, cases: Cases) -> Callable[[random.Random], world.Question]:
    """New words for things that no model was trained on."""

    def ask(rng: random.Random) -> world.Question:
        while True:
            asked = world.sample_question(rng, "few_shot_naming", names=world.unseen(), atlas=cases.atlas)
            if len(asked.media) == words + 1:
                return asked

    return ask


def as_they_are(rng: random.Random, question: world.Question, media: list) -> list:
    return media


def shuffled(rng: random.Random, question: world.Question, media: list) -> list:
    """The frames of each video in any order but their own."""
    return [[frames[place] for place in _another_order(rng, len(frames))] for frames in media]


def _another_order(rng: random.Random, count: int) -> list[int]:
    order = list(range(count))
    while order == sorted(order):
        rng.shuffle(order)
    return order


def blank(rng: random.Random, question: world.Question, media: list) -> list:
    """White pictures for the examples; the last, which is asked about, stays."""
    return [Image.new("RGB", picture.size, "white") for picture in media[:-1]] + media[-1:]


def _row(
    session: palm_demo.Session,
    cases: Cases,
    what: str,
    chance: str,
    ask: Callable[[random.Random], world.Question],
    shown: Shown = as_they_are,
) -> Row:
    asked = cases.draw(f"questions/{what.split(',')[0]}", ask)
    media = [
        shown(random.Random(number), question, [_drawn(medium, cases.atlas) for medium in question.media])
        for number, question in enumerate(asked)
    ]
    said = answers(session, [question.prompt for question in asked], media)
    right = np.mean([a == question.answer for a, question in zip(said, asked, strict=True)])
    return Row(f"Flamingo: {what}", right, chance, len(asked))


def answers(session: palm_demo.Session, prompts: Sequence[str], media: Sequence[list]) -> list[str]:
    said: list[str] = []
    for some in chunks(range(len(prompts))):
        said += session.answers([prompts[i] for i in some], [media[i] for i in some])
    return said


def _drawn(medium: world.Scene | world.MovingScene, atlas: world.Atlas):
    """A picture, or a video's frames."""
    if isinstance(medium, world.Scene):
        return world.render(medium, atlas=atlas)
    return world.frames(medium, atlas=atlas)
