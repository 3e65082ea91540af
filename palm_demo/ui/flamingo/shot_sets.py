"""Sets of examples to teach Flamingo by, drawn from the picture world when the page starts."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

from palm_demo import world
from palm_demo.prompting import OURS, PromptForm
from palm_demo.tokenizer import MEDIA


class Shot(NamedTuple):
    """One example: a text with a mark for each of its media, or without marks, which go in front."""

    text: str
    media: tuple[str, ...]


class ShotSet(NamedTuple):
    """shots: the examples, and last what is asked after them."""

    title: str
    shots: tuple[Shot, ...]


def shot_sets(folder: Path, form: PromptForm = OURS) -> list[ShotSet]:
    """The sets, their pictures and videos written into the folder. form: of the Flamingo that is asked."""
    makers: dict[str, Callable[[], list[tuple[str, world.Scene | world.MovingScene]]]] = {
        "Teach it a new word": _new_words,
        "Count": lambda: _answered("how_many", (0, 1, 4)),
        "Which way": lambda: _answered("way", (0, 2, 5)),
        "Captions in my style": _styled,
    }
    sets = []
    for number, (title, make) in enumerate(makers.items()):
        shots = [
            Shot(form.worded(text), (str(world.write_scene(folder / f"shots-{number}-{place}", scene)[0]),))
            for place, (text, scene) in enumerate(make())
        ]
        sets.append(ShotSet(title, tuple(shots)))
    return sets


def _new_words() -> list[tuple[str, world.Scene | world.MovingScene]]:
    question = world.sample_question(Random("shots/6"), "few_shot_naming", names=world.unseen())
    _, *texts = question.prompt.split(MEDIA)
    return [(text.strip(), scene) for text, scene in zip(texts, question.media, strict=True)]


def _answered(kind: str, seeds: tuple[int, ...]) -> list[tuple[str, world.Scene | world.MovingScene]]:
    """Questions of a kind with their answers, the last without."""
    questions = [world.sample_question(Random(f"shots/{seed}"), kind) for seed in seeds]
    texts = [*(question.text for question in questions[:-1]), questions[-1].prompt]
    return [
        (text.removeprefix(MEDIA).strip(), question.media[0])
        for text, question in zip(texts, questions, strict=True)
    ]


def _styled() -> list[tuple[str, world.Scene | world.MovingScene]]:
    scenes = [world.single_scene(Random(f"shots/{seed}")) for seed in range(3)]
    captions = [f"caption: oh, {world.caption(scene)}!" for scene in scenes[:-1]]
    return list(zip([*captions, "caption:"], scenes, strict=True))
