"""The questions of the page's examples, about random scenes of kinds that Flamingo is good at.

Scenes are not selected by Flamingo's answers. tests/ui/test_presets.py counts the correct ones.
"""

from collections.abc import Callable
from dataclasses import replace
from random import Random

from palm_demo import world
from palm_demo.ui.photographs import example_photos
from palm_demo.world import MEDIA, Question, Scene, indefinite

Draw = Callable[[Random], Question]
"""A function that draws random scenes and makes a question about them."""

NEW_WORD_STYLE = "fxemoji"
"""The drawing style in which Flamingo best tells apart things that it has never seen."""
LARGE = (0.75, 0.9)
"""The range of sizes of large things, as parts of the frame."""
EXAMPLES = 2
"""The number of examples before a question."""


def of_kind(kind: str) -> Draw:
    """Questions of a kind of the picture world, about any scenes for it."""
    return lambda rng: world.sample_question(rng, kind)


def few(rng: Random) -> Question:
    """How many there are of a thing: two or three, because Flamingo miscounts more in one of four."""
    return world.ask(rng, "how_many", (world.count_scene(rng, count=rng.choice((2, 2, 3)), color="white"),))


def one_thing(rng: Random) -> Question:
    """A caption for a scene with one thing."""
    return world.ask(rng, "caption", (world.single_scene(rng),))


def photograph(rng: Random) -> Question:
    """The question what one of the example photographs shows."""
    photo = rng.choice([photo for photo in example_photos() if photo.asked])
    return Question(
        f"{MEDIA} question: what is this? answer:", indefinite(photo.name), (photo,), "photo_name"
    )


def new_word(rng: Random) -> Question:
    """Two examples with made-up names of things that no model was trained on, and a question about one.

    All things are large, on white and in one style.
    """
    atlas = world.Atlas.load()
    drawn = [name for name in world.unseen() if NEW_WORD_STYLE in atlas.styles_of(name)]
    names = rng.sample(drawn, 2)
    scenes = tuple(_large_scene(rng, name) for name in (*names, rng.choice(names)))
    return world.ask(rng, "few_shot_naming", scenes)


def _large_scene(rng: Random, name: str) -> Scene:
    scene = world.single_scene(rng, names=[name], styles=[NEW_WORD_STYLE], color="white")
    (thing,) = scene.things
    thing = replace(thing, size=rng.uniform(*LARGE), angle=0.0, hue=0.0, gain=1.0)
    reach = thing.reach
    return replace(
        scene, things=(replace(thing, x=rng.uniform(reach, 1 - reach), y=rng.uniform(reach, 1 - reach)),)
    )


def after_examples(draw: Draw) -> Draw:
    """A question after EXAMPLES others of its kind with their answers."""

    def made(rng: Random) -> Question:
        *before, last = (draw(rng) for _ in range(EXAMPLES + 1))
        return last.after(before)

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
    "Example: a new word": new_word,
    "Example: which way it moves": after_examples(of_kind("way")),
    "Example: grows or shrinks": after_examples(of_kind("grows_or_shrinks")),
}
