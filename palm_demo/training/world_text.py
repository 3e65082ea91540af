"""The world in words: what the language model and the tokenizer read of it."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from palm_demo import world
from palm_demo.prompting import encode_interleaved
from palm_demo.tokenizer import MEDIA, Tokenizer
from palm_demo.training.meanings import meaning

SCENES = (world.single_scene, world.pair_scene, world.count_scene)

KINDS = dict.fromkeys(world.KINDS, 1) | {"what_is_where": 3, "is_there": 3, "which_picture": 2}
"""How often each kind of question is asked: the rest is learned soon."""

CAPTIONS, NAMINGS = 0.1, 0.4
"""Parts of texts that are captions without a mark, and that teach new words; the rest asks."""

NAMELESS = 0.5
"""Part of the things that get new words and have no name: words at random stand for them."""

SHOWN_AGAIN = 5
"""How often things are shown after each of them got its word."""


@dataclass
class Reading:
    """Text as ids, with which of them are to be learned, and what stands at each of its marks.

    meanings: the place of each mark, with the ids of the words for it.
    """

    ids: list[int] = field(default_factory=list)
    learned: list[bool] = field(default_factory=list)
    meanings: list[tuple[int, list[int]]] = field(default_factory=list)

    def __add__(self, other: "Reading") -> "Reading":
        moved = [(len(self.ids) + place, words) for place, words in other.meanings]
        return Reading(self.ids + other.ids, self.learned + other.learned, self.meanings + moved)

    def cut(self, length: int) -> "Reading":
        kept = [(place, words) for place, words in self.meanings if place < length]
        return Reading(self.ids[:length], self.learned[:length], kept)


def world_sentences(rng: random.Random, count: int) -> Iterator[str]:
    """Captions, and questions without their marks."""
    for _ in range(count):
        if rng.random() < 0.5:
            yield rng.choice(world.captions(rng.choice(SCENES)(rng)))
        else:
            question = world.sample_question(rng)
            yield question.text.replace(MEDIA, "")


def world_window(length: int, rng: random.Random, tokenizer: Tokenizer) -> Reading:
    """Captions, questions and new words, one text after another, cut at `length` ids."""
    whole = Reading()
    while len(whole.ids) < length:
        whole += world_reading(rng, tokenizer)
    return whole.cut(length)


def world_reading(rng: random.Random, tokenizer: Tokenizer) -> Reading:
    dice = rng.random()
    if dice < CAPTIONS:
        ids = tokenizer.encode(rng.choice(world.captions(rng.choice(SCENES)(rng))))
        return _read([tokenizer.bos_id]) + _learned([*ids, tokenizer.eos_id])
    if dice < CAPTIONS + NAMINGS:
        return naming_reading(rng, tokenizer)
    (kind,) = rng.choices(list(KINDS), weights=list(KINDS.values()))
    return question_reading(world.sample_question(rng, kind), tokenizer)


def question_reading(question: world.Question, tokenizer: Tokenizer) -> Reading:
    """The answer is to be learned."""
    prompt = [tokenizer.bos_id, *encode_interleaved(question.prompt, tokenizer)]
    places = [place for place, token_id in enumerate(prompt) if token_id == tokenizer.media_id]
    said = [tokenizer.encode("".join(f" {word}" for word in meaning(medium))) for medium in question.media]
    asked = Reading(prompt, [False] * len(prompt), list(zip(places, said, strict=True)))
    return asked + _learned([*tokenizer.encode(f" {question.answer}"), tokenizer.eos_id])


def naming_reading(rng: random.Random, tokenizer: Tokenizer) -> Reading:
    """Two to four things get new words and are shown again, in any order: from then on their words
    are to be learned."""
    words = world.made_up_words(rng, rng.randint(2, 4))
    said = [_thing(rng, tokenizer) for _ in words]
    shown = [*range(len(words)), *rng.choices(range(len(words)), k=SHOWN_AGAIN)]
    whole = _read([tokenizer.bos_id])
    for turn, thing in enumerate(shown):
        here = [tokenizer.media_id, *tokenizer.encode(" this is a")]
        around = tokenizer.encode(f" {rng.choice(world.COLORS)}")
        whole += Reading(here, [False] * len(here), [(0, said[thing] + around)])
        word = tokenizer.encode(f" {words[thing]}")
        whole += _read(word) if turn < len(words) else _learned(word)
        whole += _read(tokenizer.encode(". ")) if turn + 1 < len(shown) else _learned([tokenizer.eos_id])
    return whole


def _thing(rng: random.Random, tokenizer: Tokenizer) -> list[int]:
    """A noun of the world, or any two words."""
    if rng.random() < NAMELESS:
        first = max(tokenizer.never_sampled()) + 1
        return [rng.randrange(first, len(tokenizer)) for _ in range(2)]
    return tokenizer.encode(f" {rng.choice(world.concepts())}")


def _read(ids: list[int]) -> Reading:
    return Reading(ids, [False] * len(ids))


def _learned(ids: list[int]) -> Reading:
    return Reading(ids, [True] * len(ids))
