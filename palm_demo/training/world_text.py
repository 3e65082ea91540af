"""The world in words: what the language model and the tokenizer read of it."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from palm_demo import world
from palm_demo.prompting import encode_interleaved
from palm_demo.tokenizer import MEDIA, Tokenizer
from palm_demo.training.meanings import meaning

SCENES = (world.single_scene, world.pair_scene, world.count_scene)
UNMARKED = 0.05
"""How many documents are captions without a mark."""

KINDS = {kind: 1 for kind in world.KINDS} | {"is_there": 3, "few_shot_naming": 3, "which_picture": 3}
"""How often each kind of question is asked: what takes two steps to answer, more often."""


@dataclass
class Reading:
    """Text as ids, with which of them are to be learned, and what stands at each of its marks.

    meanings: the place of each mark, with the words of its slots as ids.
    """

    ids: list[int] = field(default_factory=list)
    learned: list[bool] = field(default_factory=list)
    meanings: list[tuple[int, dict[str, list[int]]]] = field(default_factory=list)

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


def world_reading(rng: random.Random, tokenizer: Tokenizer) -> Reading:
    """A caption, all of it to be learned, or a question, of which the answer is to be learned."""
    if rng.random() < UNMARKED:
        ids = tokenizer.encode(rng.choice(world.captions(rng.choice(SCENES)(rng))))
        ids = [tokenizer.bos_id, *ids, tokenizer.eos_id]
        return Reading(ids, [False] + [True] * (len(ids) - 1))
    (kind,) = rng.choices(list(KINDS), weights=list(KINDS.values()))
    question = world.sample_question(rng, kind)
    anything = kind == "few_shot_naming" and rng.random() < 0.5
    return question_reading(question, tokenizer, rng if anything else None)


def question_reading(
    question: world.Question, tokenizer: Tokenizer, anything: random.Random | None = None
) -> Reading:
    """anything: puts ids at random where a thing's name would be, for things that have no name yet."""
    prompt = [tokenizer.bos_id, *encode_interleaved(question.prompt, tokenizer)]
    answer = [*tokenizer.encode(f" {question.answer}"), tokenizer.eos_id]
    places = [place for place, token_id in enumerate(prompt) if token_id == tokenizer.media_id]
    new = {}
    if anything:
        beyond = max(tokenizer.never_sampled()) + 1
        new = {
            name: [anything.randrange(beyond, len(tokenizer)) for _ in range(2)]
            for medium in question.media
            for name in medium.names
        }
    meanings = [
        {slot: new.get(words) or tokenizer.encode(f" {words}") for slot, words in meaning(medium).items()}
        for medium in question.media
    ]
    learned = [False] * len(prompt) + [True] * len(answer)
    return Reading(prompt + answer, learned, list(zip(places, meanings, strict=True)))


def world_window(length: int, rng: random.Random, tokenizer: Tokenizer) -> Reading:
    """Captions and questions one after another, cut at `length` ids."""
    whole = Reading()
    while len(whole.ids) < length:
        whole += world_reading(rng, tokenizer)
    return whole.cut(length)
