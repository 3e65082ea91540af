"""Questions about photographs, with their answers, in the wordings of those about drawings."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from palm_demo.world.atlas import Atlas
from palm_demo.world.photographs import (
    Photograph,
    above,
    everyday_words,
    named,
    photo_classes,
    sample_photograph,
    usual_name,
)
from palm_demo.world.questions import MEDIA, ORDINALS, Question
from palm_demo.world.wordings import DESCRIBE, HOW_MANY, IS_THERE, IS_THIS, NAME, WHICH

KIND_OF = ("what kind of {} is this?", "what {} is this?", "which {} is this?", "what kind of {} do you see?")
PHOTO_OR_DRAWING = ("is this a photo or a drawing?", "is this a drawing or a photo?")

EVERYDAY_SHARE = 0.5
"""Probability that a thing is asked for by an everyday word and not by the photograph's own name."""


def caption_question(rng: Random, photo: Photograph, plain: bool = True) -> Question:
    answer = f"a photo of {named(usual_name(photo.name))}"
    if not plain or rng.random() < 0.5:
        return Question(f"{MEDIA} caption:", answer, (photo,), "photo_caption")
    return _question(rng.choice(DESCRIBE), answer, photo, "photo_caption")


def name_question(rng: Random, photo: Photograph, plain: bool = True) -> Question:
    """Asks what it is; the answer is its usual name, "a cat". `kind_question` asks for more."""
    asked = rng.choice(NAME) if plain else NAME[0]
    return _question(asked, named(usual_name(photo.name)), photo, "photo_name")


def kind_question(rng: Random, photo: Photograph, plain: bool = True) -> Question:
    """Asks for the photograph's name by a word above it: "what kind of dog is this?".

    Where no word stands above the name, the question is "what is this?".
    """
    words = above(photo.name)
    if not words:
        return name_question(rng, photo, plain)
    question = (rng.choice(KIND_OF) if plain else KIND_OF[0]).format(rng.choice(words))
    return _question(question, named(photo.name), photo, "photo_kind")


def is_there_question(rng: Random, photo: Photograph, plain: bool = True) -> Question:
    there = rng.random() < 0.5
    word = _true_word(rng, photo.name) if there else _false_word(rng, photo.name)
    wordings = ("is there {}?", "is there {}?", *IS_THERE, *IS_THIS) if plain else ("is there {}?",)
    question = rng.choice(wordings).format(named(word))
    return _question(question, "yes" if there else "no", photo, "photo_is_there")


def how_many_question(rng: Random, photo: Photograph, plain: bool = True) -> Question:
    """Asks how many there are; the answer is "one".

    Where the drawn world knows no plural of the thing, it asks whether the thing is there.
    """
    atlas = Atlas.load()
    drawn = {concept.name: concept.plural for concept in atlas.concepts}
    plurals = [drawn[word] for word in (photo.name, *above(photo.name)) if word in drawn]
    if not plurals:
        return is_there_question(rng, photo, plain)
    wordings = ("how many {} are there?", *HOW_MANY) if plain else ("how many {} are there?",)
    asked = rng.choice(wordings)
    return _question(asked.format(rng.choice(plurals)), "one", photo, "photo_how_many")


def medium_question(rng: Random, photo: Photograph, plain: bool = True) -> Question:
    return _question(rng.choice(PHOTO_OR_DRAWING), "a photo", photo, "photo_or_drawing")


def which_photo_question(rng: Random, photos: tuple[Photograph, ...], plain: bool = True) -> Question:
    """Asks which of several photographs shows a thing. No two photographs may have the same name."""
    position = rng.randrange(len(photos))
    others = {w for at, p in enumerate(photos) if at != position for w in (p.name, *above(p.name))}
    words = [word for word in (photos[position].name, *above(photos[position].name)) if word not in others]
    wordings = (
        ("which picture has {}?", "which picture has {}?", *WHICH) if plain else ("which picture has {}?",)
    )
    asked = rng.choice(wordings)
    word = rng.choice(words[1:]) if len(words) > 1 and rng.random() < EVERYDAY_SHARE else words[0]
    marks = " ".join([MEDIA] * len(photos))
    prompt = f"{marks} question: {asked.format(named(word))} answer:"
    return Question(prompt, f"the {ORDINALS[position]}", photos, "which_photo")


ABOUT_ONE: dict[Callable[..., Question], int] = {
    caption_question: 3,
    name_question: 3,
    kind_question: 2,
    is_there_question: 4,
    how_many_question: 1,
    medium_question: 1,
}
WHICH_SHARE = 0.15


def ask_about_photo(rng: Random, photo: Photograph, count: int, plain: bool = True) -> list[Question]:
    """Different kinds of questions about a photograph. plain: also worded as people type them."""
    kinds = list(ABOUT_ONE)
    asked = sorted(kinds, key=lambda kind: rng.random() ** (1 / ABOUT_ONE[kind]), reverse=True)[:count]
    return [ask(rng, photo, plain) for ask in asked]


def sample_photo_question(rng: Random) -> Question:
    """A question about photographs, of any kind."""
    if rng.random() < WHICH_SHARE:
        names = rng.sample(sorted({noun.name for noun in photo_classes()}), rng.choice((2, 3)))
        return which_photo_question(rng, tuple(Photograph(name) for name in names))
    (ask,) = rng.choices(list(ABOUT_ONE), weights=list(ABOUT_ONE.values()))
    return ask(rng, sample_photograph(rng))


def _question(question: str, answer: str, photo: Photograph, kind: str) -> Question:
    return Question(f"{MEDIA} question: {question} answer:", answer, (photo,), kind)


def _true_word(rng: Random, name: str) -> str:
    words = above(name)
    return rng.choice(words) if words and rng.random() < EVERYDAY_SHARE else name


def _false_word(rng: Random, name: str) -> str:
    """A word that is not true of a photograph: an everyday word or another name, often of a near class."""
    true = {name, *above(name)}
    classes = photo_classes()
    while True:
        if rng.random() < EVERYDAY_SHARE:
            word = rng.choice(everyday_words())
        elif rng.random() < 0.5:
            place = next(number for number, noun in enumerate(classes) if noun.name == name)
            word = classes[min(max(place + rng.randint(-20, 20), 0), len(classes) - 1)].name
        else:
            word = rng.choice(classes).name
        if word not in true:
            return word
