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

Media = tuple[Scene | MovingScene, ...]


@dataclass(frozen=True)
class Question:
    """A prompt that ends where the answer begins; `media` holds one scene per <media>, in order."""

    prompt: str
    answer: str
    media: Media
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


@dataclass(frozen=True)
class Kind:
    """How a kind of question gets its media, and what it asks about them."""

    draw: Callable[[Random, Limits], Media]
    ask: Callable[[Random, Media, Limits], Question]


def any_scene(rng: Random, limits: Limits) -> Media:
    if rng.random() < 0.2:
        return counted(rng, limits)
    return _one_or_two(rng, limits)


def pair(rng: Random, limits: Limits) -> Media:
    return (pair_scene(rng, held_out=limits.held_out, **limits.drawing),)


def counted(rng: Random, limits: Limits) -> Media:
    return (count_scene(rng, **limits.drawing),)


def pictures(rng: Random, limits: Limits) -> Media:
    """Two or three pictures, one of which at least has a thing that no other has."""
    while True:
        drawn = tuple(scene for _ in range(rng.choice((2, 3))) for scene in _one_or_two(rng, limits))
        if _only_once(drawn):
            return drawn


def shots(rng: Random, limits: Limits) -> Media:
    """Two to four things, then one of them again."""
    count = min(rng.randint(2, 4), len(limits.names))
    names = rng.sample(list(limits.names), count)
    shown = (*names, rng.choice(names))
    return tuple(single_scene(rng, **{**limits.drawing, "names": [name]}) for name in shown)


def travelling(rng: Random, limits: Limits) -> Media:
    return (moving_scene(rng, rng.choice(tuple(DIRECTIONS)), **limits.drawing),)


def changing(rng: Random, limits: Limits) -> Media:
    return (moving_scene(rng, rng.choice(CHANGES), **limits.drawing),)


def caption_question(rng: Random, media: Media, limits: Limits) -> Question:
    return Question(f"{MEDIA} caption:", caption(media[0], limits.atlas), media, "caption")


def what_is_where(rng: Random, media: Media, limits: Limits) -> Question:
    (scene,) = media
    # the answer is the first or the second thing; the other one is named in the question
    answer, known, relation = rng.choice(
        ((*scene.names, scene.relation), (*scene.names[::-1], OPPOSITE[scene.relation]))
    )
    question = f"what is {RELATIONS[relation]} the {known}?"
    return _question(question, with_article(answer, limits.atlas), media, "what_is_where")


def background_color(rng: Random, media: Media, limits: Limits) -> Question:
    color = media[0].background.color
    return _question("what color is the background?", color, media, "background_color")


def is_there(rng: Random, media: Media, limits: Limits) -> Question:
    names = media[0].names
    there = rng.random() < 0.5
    name = rng.choice(names) if there else _other(rng, limits, names)
    question = f"is there {with_article(name, limits.atlas)}?"
    return _question(question, "yes" if there else "no", media, "is_there")


def how_many(rng: Random, media: Media, limits: Limits) -> Question:
    things = media[0].things
    plural = limits.atlas.concept(things[0].name).plural
    return _question(f"how many {plural} are there?", NUMBERS[len(things)], media, "how_many")


def which_picture(rng: Random, media: Media, limits: Limits) -> Question:
    name, position = rng.choice(_only_once(media))
    marks = " ".join([MEDIA] * len(media))
    prompt = f"{marks} question: which picture has {with_article(name, limits.atlas)}? answer:"
    return Question(prompt, f"the {ORDINALS[position]}", media, "which_picture")


def few_shot_naming(rng: Random, media: Media, limits: Limits) -> Question:
    """All things but the last get made-up names; the last is one of them."""
    *named, last = (scene.names[0] for scene in media)
    words = made_up_words(rng, len(named), limits.atlas)
    taught = " ".join(f"{MEDIA} this is a {word}." for word in words)
    answer = words[named.index(last)]
    return Question(f"{taught} {MEDIA} this is a", answer, media, "few_shot_naming")


def way(rng: Random, media: Media, limits: Limits) -> Question:
    (moving,) = media
    answer = DIRECTION_ANSWERS[moving.way]
    return _question(f"which way does the {moving.names[0]} move?", answer, media, "way")


def grows_or_shrinks(rng: Random, media: Media, limits: Limits) -> Question:
    (moving,) = media
    answer = CHANGE_ANSWERS[moving.way]
    return _question(f"does the {moving.names[0]} grow or shrink?", answer, media, "grows_or_shrinks")


KINDS: dict[str, Kind] = {
    "what_is_where": Kind(pair, what_is_where),
    "background_color": Kind(any_scene, background_color),
    "is_there": Kind(any_scene, is_there),
    "how_many": Kind(counted, how_many),
    "which_picture": Kind(pictures, which_picture),
    "few_shot_naming": Kind(shots, few_shot_naming),
    "way": Kind(travelling, way),
    "grows_or_shrinks": Kind(changing, grows_or_shrinks),
    "caption": Kind(any_scene, caption_question),
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
    limits = _limits(names, styles, held_out, atlas)
    return _known(kind).ask(rng, _known(kind).draw(rng, limits), limits)


def ask(
    rng: Random,
    kind: str,
    media: Media,
    *,
    styles: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    atlas: Atlas | None = None,
) -> Question:
    """A question of `kind` about media that were drawn for it, or for a kind that needs the same.

    `names`, `styles`: what a picture is asked for that does not show it. Raises ValueError for
    an unknown kind.
    """
    return _known(kind).ask(rng, media, _limits(names, styles, False, atlas))


def _known(kind: str) -> Kind:
    if kind not in KINDS:
        raise ValueError(f"unknown kind of question {kind!r}; choose one of: {', '.join(KINDS)}")
    return KINDS[kind]


def _limits(
    names: Sequence[str] | None, styles: Sequence[str] | None, held_out: bool, atlas: Atlas | None
) -> Limits:
    atlas = atlas or Atlas.load()
    return Limits(atlas.drawable(names, styles), styles, held_out, atlas)


def _question(question: str, answer: str, media: Media, kind: str) -> Question:
    return Question(f"{MEDIA} question: {question} answer:", answer, media, kind)


def _one_or_two(rng: Random, limits: Limits) -> Media:
    if rng.random() < 0.5:
        return (single_scene(rng, **limits.drawing),)
    return pair(rng, limits)


def _only_once(media: Media) -> list[tuple[str, int]]:
    """Names that one picture alone has, and which picture that is."""
    return [
        (name, position)
        for position, scene in enumerate(media)
        for name in scene.names
        if sum(name in other.names for other in media) == 1
    ]


def _other(rng: Random, limits: Limits, names: tuple[str, ...]) -> str:
    while True:
        name = rng.choice(limits.names)
        if name not in names:
            return name
