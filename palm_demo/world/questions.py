"""Questions about pictures and videos, with their answers, in the forms Flamingo is trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Generic, TypeVar, cast

from palm_demo.world.atlas import Atlas
from palm_demo.world.captions import NUMBERS, OPPOSITE, RELATIONS, caption, with_article
from palm_demo.world.motion import CHANGES, DIRECTIONS, MovingScene, moving_scene
from palm_demo.world.photographs import EVERYDAY, Photograph, above, named
from palm_demo.world.scenes import Scene, count_scene, pair_scene, single_scene
from palm_demo.world.wordings import (
    BACKGROUND,
    DESCRIBE,
    GROWS,
    HOW_MANY,
    IS_THERE,
    IS_THIS,
    NAME,
    WAY,
    WHAT,
    WHICH,
    made_up_words,
)

MEDIA = "<media>"
ORDINALS = ("first", "second", "third")
DIRECTION_ANSWERS = {"left": "to the left", "right": "to the right", "up": "up", "down": "down"}
CHANGE_ANSWERS = {"grows": "it grows", "shrinks": "it shrinks"}

Scenes = tuple[Scene, ...]
Videos = tuple[MovingScene, ...]
Media = Scenes | Videos | tuple[Photograph, ...]

M = TypeVar("M", Scenes, Videos)


@dataclass(frozen=True)
class Question:
    """A prompt that ends where the answer begins, and its answer.

    Attributes:
        media: one scene or photograph for each <media> of the prompt, in order.
        kind: one of KINDS, or what is asked about a photograph, such as "photo_name".
    """

    prompt: str
    answer: str
    media: Media
    kind: str

    @property
    def text(self) -> str:
        """Prompt and answer as one line, the form to train on."""
        return f"{self.prompt} {self.answer}"

    def after(self, examples: Sequence[Question]) -> Question:
        """This question after others with their answers."""
        return Question(
            " ".join([*(example.text for example in examples), self.prompt]),
            self.answer,
            cast(Media, tuple(medium for question in (*examples, self) for medium in question.media)),
            self.kind,
        )


@dataclass(frozen=True)
class Limits:
    """What a question may show and how it is asked.

    Attributes:
        held_out: whether pairs are those that are never trained on.
        plain: whether plain wordings are used too, as people type them.
    """

    names: Sequence[str]
    styles: Sequence[str] | None
    held_out: bool
    atlas: Atlas
    plain: bool = False

    @property
    def drawing(self) -> dict:
        return {"names": self.names, "styles": self.styles, "atlas": self.atlas}

    def worded(self, rng: Random, usual: str, *others: str) -> str:
        """The usual wording, or where plain ones are wanted, half of the time one of the others."""
        if not self.plain or rng.random() < 0.5:
            return usual
        return rng.choice(others)


@dataclass(frozen=True)
class Kind(Generic[M]):
    """One kind of question: how its media are drawn, and what is asked about them."""

    draw: Callable[[Random, Limits], M]
    ask: Callable[[Random, M, Limits], Question]


def any_scene(rng: Random, limits: Limits) -> Scenes:
    if rng.random() < 0.2:
        return counted(rng, limits)
    return _one_or_two(rng, limits)


def pair(rng: Random, limits: Limits) -> Scenes:
    return (pair_scene(rng, held_out=limits.held_out, **limits.drawing),)


def counted(rng: Random, limits: Limits) -> Scenes:
    if limits.plain and rng.random() < 0.2:
        return (single_scene(rng, **limits.drawing),)
    return (count_scene(rng, **limits.drawing),)


def pictures(rng: Random, limits: Limits) -> Scenes:
    """Two or three pictures, at least one of which has a thing that no other has."""
    while True:
        drawn = tuple(scene for _ in range(rng.choice((2, 3))) for scene in _one_or_two(rng, limits))
        if _only_once(drawn):
            return drawn


def shots(rng: Random, limits: Limits) -> Scenes:
    """Two to four pictures of different things, then one of these things again."""
    count = min(rng.randint(2, 4), len(limits.names))
    names = rng.sample(list(limits.names), count)
    shown = (*names, rng.choice(names))
    return tuple(single_scene(rng, names=[name], styles=limits.styles, atlas=limits.atlas) for name in shown)


def travelling(rng: Random, limits: Limits) -> Videos:
    return (moving_scene(rng, rng.choice(tuple(DIRECTIONS)), **limits.drawing),)


def changing(rng: Random, limits: Limits) -> Videos:
    return (moving_scene(rng, rng.choice(CHANGES), **limits.drawing),)


def caption_question(rng: Random, media: Scenes, limits: Limits) -> Question:
    answer = caption(media[0], limits.atlas)
    asked = limits.worded(rng, "", *DESCRIBE, *NAME)
    if not asked:
        return Question(f"{MEDIA} caption:", answer, media, "caption")
    if asked in NAME:
        answer = listed(media[0], limits.atlas)
    return _question(asked, answer, media, "caption")


def listed(scene: Scene, atlas: Atlas) -> str:
    """The things of a scene without their places: "a cat", "a cat and a red apple", "three cats"."""
    if scene.kind == "count":
        return f"{NUMBERS[len(scene.names)]} {atlas.concept(scene.names[0]).plural}"
    return " and ".join(with_article(name, atlas) for name in scene.names)


def what_is_where(rng: Random, media: Scenes, limits: Limits) -> Question:
    (scene,) = media
    assert scene.relation is not None, "drawn as a pair"
    # the answer is the first or the second thing; the other one is named in the question
    answer, known, relation = rng.choice(
        ((*scene.names, scene.relation), (*scene.names[::-1], OPPOSITE[scene.relation]))
    )
    usual = RELATIONS[relation]
    where = limits.worded(rng, usual, usual.replace("to the", "on the"), usual.replace("to the ", ""))
    asked = limits.worded(rng, *WHAT)
    question = f"{asked} {where} the {known}?"
    return _question(question, with_article(answer, limits.atlas), media, "what_is_where")


def background_color(rng: Random, media: Scenes, limits: Limits) -> Question:
    color = media[0].background.color
    question = limits.worded(rng, "what color is the background?", *BACKGROUND)
    return _question(question, color, media, "background_color")


def is_there(rng: Random, media: Scenes, limits: Limits) -> Question:
    names = media[0].names
    there = rng.random() < 0.5
    if limits.plain and rng.random() < 0.15:
        thing = _everyday(rng, names, there)
        there = any(thing == named(word) for name in names for word in above(name))
    else:
        thing = with_article(rng.choice(names) if there else _other(rng, limits, names), limits.atlas)
    question = limits.worded(rng, "is there {}?", *IS_THERE, *(IS_THIS if len(names) == 1 else ()))
    return _question(question.format(thing), "yes" if there else "no", media, "is_there")


def how_many(rng: Random, media: Scenes, limits: Limits) -> Question:
    things = media[0].things
    plural = limits.atlas.concept(things[0].name).plural
    question = limits.worded(rng, "how many {} are there?", *HOW_MANY).format(plural)
    return _question(question, NUMBERS[len(things)], media, "how_many")


def which_picture(rng: Random, media: Scenes, limits: Limits) -> Question:
    name, position = rng.choice(_only_once(media))
    marks = " ".join([MEDIA] * len(media))
    question = limits.worded(rng, "which picture has {}?", *WHICH).format(with_article(name, limits.atlas))
    prompt = f"{marks} question: {question} answer:"
    return Question(prompt, f"the {ORDINALS[position]}", media, "which_picture")


def few_shot_naming(rng: Random, media: Scenes, limits: Limits) -> Question:
    """Gives a made-up name to each thing but the last, which is one of them and whose name is asked for."""
    *named, last = (scene.names[0] for scene in media)
    words = made_up_words(rng, len(named), limits.atlas)
    taught = " ".join(f"{MEDIA} this is a {word}." for word in words)
    answer = words[named.index(last)]
    return Question(f"{taught} {MEDIA} this is a", answer, media, "few_shot_naming")


def way(rng: Random, media: Videos, limits: Limits) -> Question:
    (moving,) = media
    answer = DIRECTION_ANSWERS[moving.way]
    question = limits.worded(rng, "which way does the {} move?", *WAY).format(moving.names[0])
    return _question(question, answer, media, "way")


def grows_or_shrinks(rng: Random, media: Videos, limits: Limits) -> Question:
    (moving,) = media
    answer = CHANGE_ANSWERS[moving.way]
    question = limits.worded(rng, "does the {} grow or shrink?", *GROWS).format(moving.names[0])
    return _question(question, answer, media, "grows_or_shrinks")


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
    plain: bool = False,
    atlas: Atlas | None = None,
) -> Question:
    """A question about fresh scenes.

    Args:
        kind: one of KINDS; None for any.
        styles: styles to draw in; None for all.
        names: things to draw; None for all trained ones.
        held_out: draw pairs from those that are never trained on.
        plain: word half of the questions as people type them.

    Raises ValueError for an unknown kind, and for names that are too few for the question.
    """
    kind = kind or rng.choice(tuple(KINDS))
    limits = _limits(names, styles, held_out, plain, atlas)
    return _known(kind).ask(rng, _known(kind).draw(rng, limits), limits)


def ask(
    rng: Random,
    kind: str,
    media: Media,
    *,
    styles: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    plain: bool = False,
    atlas: Atlas | None = None,
) -> Question:
    """A question of a kind about media that were drawn for this kind, or for one that needs the same media.

    Args:
        kind: one of KINDS.
        media: the scenes to ask about.
        names, styles: from which a thing is chosen that the picture does not show.
        plain: word half of the questions as people type them.

    Raises ValueError for an unknown kind, and for names that are too few for the question.
    """
    return _known(kind).ask(rng, media, _limits(names, styles, False, plain, atlas))


def _known(kind: str) -> Kind:
    if kind not in KINDS:
        raise ValueError(f"unknown kind of question {kind!r}; choose one of: {', '.join(KINDS)}")
    return KINDS[kind]


def _limits(
    names: Sequence[str] | None,
    styles: Sequence[str] | None,
    held_out: bool,
    plain: bool,
    atlas: Atlas | None,
) -> Limits:
    atlas = atlas or Atlas.load()
    return Limits(atlas.drawable(names, styles), styles, held_out, atlas, plain)


def _question(question: str, answer: str, media: Media, kind: str) -> Question:
    return Question(f"{MEDIA} question: {question} answer:", answer, media, kind)


def _one_or_two(rng: Random, limits: Limits) -> Scenes:
    if rng.random() < 0.5:
        return (single_scene(rng, **limits.drawing),)
    return pair(rng, limits)


def _only_once(media: Scenes) -> list[tuple[str, int]]:
    """Names that only one of the pictures has, each with the picture's position."""
    return [
        (name, position)
        for position, scene in enumerate(media)
        for name in scene.names
        if sum(name in other.names for other in media) == 1
    ]


def _everyday(rng: Random, names: tuple[str, ...], there: bool) -> str:
    """An everyday word with its article: one that stands above one of the names if `there`, otherwise any."""
    words = [word for name in names for word in above(name)]
    return named(rng.choice(words) if there and words else rng.choice(EVERYDAY))


def _other(rng: Random, limits: Limits, names: tuple[str, ...]) -> str:
    """A name that a picture of `names` does not show. Raises ValueError where there is none."""
    if all(name in names for name in limits.names):
        raise ValueError(f"no name but those that are shown: {', '.join(limits.names)}; give more names")
    while True:
        name = rng.choice(limits.names)
        if name not in names:
            return name
