"""What the page's own examples ask: scenes drawn afresh each time, of kinds that Flamingo is good at.

Nobody looks at an answer before a scene is chosen. tests/ui/test_presets.py counts how many are right.
"""

from collections.abc import Callable
from dataclasses import replace
from random import Random

from palm_demo import world
from palm_demo.ui.photographs import example_photos
from palm_demo.world import MEDIA, Question, Scene, indefinite

Draw = Callable[[Random], Question]

CLEAR = "fxemoji"
"""Of the six styles the one in which Flamingo tells things best that it has never seen."""
LARGE = (0.75, 0.9)
"""Of the frame."""
EXAMPLES = 2


def of_kind(kind: str) -> Draw:
    """Questions of a kind about any scenes that are drawn for it."""
    return lambda rng: world.sample_question(rng, kind)


def few(rng: Random) -> Question:
    """Two of a thing, or three: of more, Flamingo counts one in four wrongly."""
    return world.ask(rng, "how_many", (world.count_scene(rng, count=rng.choice((2, 2, 3)), color="white"),))


def one_thing(rng: Random) -> Question:
    """A caption of one thing."""
    return world.ask(rng, "caption", (world.single_scene(rng),))


def photograph(rng: Random) -> Question:
    """What one of the page's photographs shows."""
    photo = rng.choice(example_photos())
    return Question(
        f"{MEDIA} question: what is this? answer:", indefinite(photo.name), (photo,), "photo_name"
    )


def new_word(rng: Random) -> Question:
    """Two things that no model was trained on get made-up names; one of them is asked for again. All are
    large, on white and drawn by one hand."""
    atlas = world.Atlas.load()
    drawn = [name for name in world.unseen() if CLEAR in atlas.styles_of(name)]
    names = rng.sample(drawn, 2)
    scenes = tuple(_large(rng, name) for name in (*names, rng.choice(names)))
    return world.ask(rng, "few_shot_naming", scenes)


def _large(rng: Random, name: str) -> Scene:
    scene = world.single_scene(rng, names=[name], styles=[CLEAR], color="white")
    (thing,) = scene.things
    thing = replace(thing, size=rng.uniform(*LARGE), angle=0.0, hue=0.0, gain=1.0)
    reach = thing.reach
    return replace(
        scene, things=(replace(thing, x=rng.uniform(reach, 1 - reach), y=rng.uniform(reach, 1 - reach)),)
    )


def after_examples(draw: Draw) -> Draw:
    """A question after two of its kind with their answers."""

    def made(rng: Random) -> Question:
        *before, last = (draw(rng) for _ in range(EXAMPLES + 1))
        prompt = " ".join([*(question.text for question in before), last.prompt])
        media = tuple(medium for question in (*before, last) for medium in question.media)
        return Question(prompt, last.answer, media, last.kind)

    return made


TILES: dict[str, Draw] = {
    "where": of_kind("what_is_where"),
    "new-word": new_word,
    "which": of_kind("which_picture"),
    "there": of_kind("is_there"),
    "count": few,
    "way": of_kind("way"),
    "grows": of_kind("grows_or_shrinks"),
    "caption": one_thing,
    "photo": photograph,
}
SETS: dict[str, Draw] = {
    "Teach it a new word": new_word,
    "Which way it moves": after_examples(of_kind("way")),
    "Grows or shrinks": after_examples(of_kind("grows_or_shrinks")),
}
