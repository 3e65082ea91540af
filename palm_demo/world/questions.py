"""Questions about pictures and videos, with their answers, in the forms Flamingo is trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from palm_demo.world.atlas import Atlas
from palm_demo.world.captions import NUMBERS, OPPOSITE, RELATIONS, caption, with_article
from palm_demo.world.motion import CHANGES, DIRECTIONS, MovingScene, moving_scene
from palm_demo.world.scenes import count_scene, pair_scene, single_scene
from palm_demo.world.things import Scene
from palm_demo.world.words import made_up_words

MEDIA = "<media>"
ORDINALS = ("first", "second", "third")
DIRECTION_ANSWERS = {"left": "to the left", "right": "to the right", "up": "up", "down": "down"}
CHANGE_ANSWERS = {"grows": "it grows", "shrinks": "it shrinks"}


@dataclass(frozen=True)
class Question:
    """A prompt that ends where the answer begins; `media` holds one scene per <media>, in order."""

    prompt: str
    answer: str
    media: tuple[Scene | MovingScene, ...]
    kind: str

    @property
    def text(self) -> str:
        """Prompt and answer as one line, the form to train on."""
        return f"{self.prompt} {self.answer}"


@dataclass(frozen=True)
class Limits:
    """What a question may show: concepts, styles, and whether pairs are the held-out ones."""

    names: Sequence[str]
    styles: Sequence[str] | None
    held_out: bool
    atlas: Atlas

    @property
    def drawing(self) -> dict:
        return {"names": self.names, "styles": self.styles, "atlas": self.atlas}


def what_is_where(rng: Random, limits: Limits) -> Question:
    scene = pair_scene(rng, held_out=limits.held_out, **limits.drawing)
    # the answer is the first or the second thing; the other one is named in the question
    answer, known, relation = rng.choice(
        ((*scene.names, scene.relation), (*scene.names[::-1], OPPOSITE[scene.relation]))
    )
    question = f"what is {RELATIONS[relation]} the {known}?"
    return _ask(question, with_article(answer, limits.atlas), scene, "what_is_where")


def background_color(rng: Random, limits: Limits) -> Question:
    scene = _any_scene(rng, limits)
    return _ask("what color is the background?", scene.background.color, scene, "background_color")


def is_there(rng: Random, limits: Limits) -> Question:
    scene = _any_scene(rng, limits)
    there = rng.random() < 0.5
    name = rng.choice(scene.names) if there else _other(rng, limits, scene.names)
    return _ask(f"is there {with_article(name, limits.atlas)}?", "yes" if there else "no", scene, "is_there")


def how_many(rng: Random, limits: Limits) -> Question:
    scene = count_scene(rng, **limits.drawing)
    plural = limits.atlas.concept(scene.names[0]).plural
    return _ask(f"how many {plural} are there?", NUMBERS[len(scene.things)], scene, "how_many")


def which_picture(rng: Random, limits: Limits) -> Question:
    count = rng.choice((2, 3))
    position = rng.randrange(count)
    while True:
        scenes = tuple(_one_or_two(rng, limits) for _ in range(count))
        name = rng.choice(scenes[position].names)
        if sum(name in scene.names for scene in scenes) == 1:
            break
    marks = " ".join([MEDIA] * count)
    prompt = f"{marks} question: which picture has {with_article(name, limits.atlas)}? answer:"
    return Question(prompt, f"the {ORDINALS[position]}", scenes, "which_picture")


def few_shot_naming(rng: Random, limits: Limits) -> Question:
    """Two to four things get made-up names; then one of them is seen again."""
    count = min(rng.randint(2, 4), len(limits.names))
    names = rng.sample(list(limits.names), count)
    words = made_up_words(rng, count, limits.atlas)
    asked = rng.randrange(count)
    shown = [single_scene(rng, **{**limits.drawing, "names": [name]}) for name in (*names, names[asked])]
    shots = " ".join(f"{MEDIA} this is a {word}." for word in words)
    return Question(f"{shots} {MEDIA} this is a", words[asked], tuple(shown), "few_shot_naming")


def way(rng: Random, limits: Limits) -> Question:
    moving = moving_scene(rng, rng.choice(tuple(DIRECTIONS)), **limits.drawing)
    return _ask(f"which way does the {moving.names[0]} move?", DIRECTION_ANSWERS[moving.way], moving, "way")


def grows_or_shrinks(rng: Random, limits: Limits) -> Question:
    moving = moving_scene(rng, rng.choice(CHANGES), **limits.drawing)
    return _ask(
        f"does the {moving.names[0]} grow or shrink?",
        CHANGE_ANSWERS[moving.way],
        moving,
        "grows_or_shrinks",
    )


def caption_question(rng: Random, limits: Limits) -> Question:
    scene = _any_scene(rng, limits)
    return Question(f"{MEDIA} caption:", caption(scene, limits.atlas), (scene,), "caption")


KINDS: dict[str, Callable[[Random, Limits], Question]] = {
    "what_is_where": what_is_where,
    "background_color": background_color,
    "is_there": is_there,
    "how_many": how_many,
    "which_picture": which_picture,
    "few_shot_naming": few_shot_naming,
    "way": way,
    "grows_or_shrinks": grows_or_shrinks,
    "caption": caption_question,
}


def sample_question(
    rng: Random,
    kind: str | None = None,
    *,
    styles: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    held_out: bool = False,
    atlas: Atlas | None = None,
) -> Question:
    """A question of `kind` (one of KINDS; None for any) about fresh scenes of `names` in `styles`.

    `held_out` draws pairs from those never trained on; raises ValueError for an unknown kind.
    """
    kind = kind or rng.choice(tuple(KINDS))
    if kind not in KINDS:
        raise ValueError(f"unknown kind of question {kind!r}; choose one of: {', '.join(KINDS)}")
    atlas = atlas or Atlas.load()
    return KINDS[kind](rng, Limits(atlas.drawable(names, styles), styles, held_out, atlas))


def _ask(question: str, answer: str, shown: Scene | MovingScene, kind: str) -> Question:
    return Question(f"{MEDIA} question: {question} answer:", answer, (shown,), kind)


def _one_or_two(rng: Random, limits: Limits) -> Scene:
    if rng.random() < 0.5:
        return single_scene(rng, **limits.drawing)
    return pair_scene(rng, held_out=limits.held_out, **limits.drawing)


def _any_scene(rng: Random, limits: Limits) -> Scene:
    return count_scene(rng, **limits.drawing) if rng.random() < 0.2 else _one_or_two(rng, limits)


def _other(rng: Random, limits: Limits, names: tuple[str, ...]) -> str:
    while True:
        name = rng.choice(limits.names)
        if name not in names:
            return name
