"""Sentences about the picture world, for training the language model and the tokenizer."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from palm_demo import world
from palm_demo.inference.prompts import encode_interleaved
from palm_demo.models.losses import IGNORED
from palm_demo.models.tokenizers import MEDIA, BundledTokenizer
from palm_demo.training.objectives import meaning

SCENES = (world.single_scene, world.pair_scene, world.count_scene)

KINDS = dict.fromkeys(world.KINDS, 1) | {"what_is_where": 3, "is_there": 3, "which_picture": 2}
"""How often each kind of question is asked. Those with 1 are learned soon anyway."""

CAPTIONS, NAMINGS = 0.1, 0.4
"""Fractions of texts that are captions without a media token, and that teach new words; the rest are
questions."""

PHOTOGRAPHS = 0.3
"""Fraction of captions, questions and things with new words that are about photographs."""

NAMELESS = 0.5
"""Fraction of the things with new words that have no name: two random words are their meaning."""

SHOWN_AGAIN = 5
"""How often things are shown after each of them got its word."""


@dataclass(frozen=True)
class Reading:
    """A text as ids, which of them are to be learned, and the meanings of its media tokens.

    Attributes:
        meanings: ids of the words for each media token, in order; empty where Flamingo gets the media.
    """

    ids: list[int]
    learned: list[bool]
    meanings: list[list[int]] = field(default_factory=list)

    def __add__(self, other: "Reading") -> "Reading":
        return Reading(self.ids + other.ids, self.learned + other.learned, self.meanings + other.meanings)

    def cut(self, length: int) -> "Reading":
        """The first `length` ids."""
        return Reading(self.ids[:length], self.learned[:length], self.meanings)


def labels_of(reading: Reading) -> list[int]:
    """The id that follows each position, IGNORED where it is not to be learned."""
    followed = zip(reading.ids[1:], reading.learned[1:], strict=True)
    return [token_id if learned else IGNORED for token_id, learned in followed]


def world_sentences(rng: random.Random, count: int) -> Iterator[str]:
    """Yields captions, and questions without their media tokens."""
    for _ in range(count):
        if rng.random() < 0.5:
            yield _caption(rng)
        else:
            yield _asked(rng).text.replace(MEDIA, "")


def world_window(length: int, rng: random.Random, tokenizer: BundledTokenizer) -> Reading:
    """Captions, questions and texts with new words, one after another, cut at `length` ids."""
    whole = Reading([], [])
    while len(whole.ids) < length:
        whole += world_reading(rng, tokenizer)
    return whole.cut(length)


def world_reading(rng: random.Random, tokenizer: BundledTokenizer) -> Reading:
    """One random text: a caption, new words, or a question."""
    dice = rng.random()
    if dice < CAPTIONS:
        ids = tokenizer.encode(_caption(rng))
        return _read([tokenizer.bos_id]) + _learned([*ids, tokenizer.eos_id])
    if dice < CAPTIONS + NAMINGS:
        things = [_thing(rng, tokenizer) for _ in range(rng.randint(2, 4))]
        order = shown_again(rng, len(things), SHOWN_AGAIN)
        # a picture's meaning has also the colour of its background, or that it is a photograph
        contexts = [f" {rng.choice((*world.COLORS, 'photo'))}" for _ in order]
        meanings = [
            things[thing] + tokenizer.encode(context) for thing, context in zip(order, contexts, strict=True)
        ]
        return naming_reading(world.made_up_words(rng, len(things)), order, tokenizer, meanings)
    return question_reading(_asked(rng), tokenizer)


def _caption(rng: random.Random) -> str:
    if rng.random() < PHOTOGRAPHS:
        return world.photo_caption(rng.choice(world.photo_nouns()))
    return rng.choice(world.captions(rng.choice(SCENES)(rng)))


def _asked(rng: random.Random) -> world.Question:
    """A question in any wording, about drawings or photographs."""
    if rng.random() < PHOTOGRAPHS:
        return world.sample_photo_question(rng)
    (kind,) = rng.choices(list(KINDS), weights=list(KINDS.values()))
    return world.sample_question(rng, kind, plain=True)


def question_reading(question: world.Question, tokenizer: BundledTokenizer) -> Reading:
    """A question of which the answer is to be learned."""
    asked = _read([tokenizer.bos_id, *encode_interleaved(question.prompt, tokenizer)])
    answer = _learned([*tokenizer.encode(f" {question.answer}"), tokenizer.eos_id])
    words = ["".join(f" {word}" for word in meaning(medium)) for medium in question.media]
    return asked + answer + Reading([], [], tokenizer.encode_batch(words))


def shown_again(rng: random.Random, things: int, times: int) -> list[int]:
    """The order in which things are shown: each of them once, then some of them again."""
    return [*range(things), *rng.choices(range(things), k=times)]


def naming_reading(
    words: Sequence[str], order: Sequence[int], tokenizer: BundledTokenizer, meanings: list[list[int]]
) -> Reading:
    """A text that gives new words to things, shown in this order. A word is to be learned from its second
    use on."""
    whole, given = _read([tokenizer.bos_id]), set()
    for turn, thing in enumerate(order, start=1):
        whole += _read([tokenizer.media_id, *tokenizer.encode(" this is a")])
        word = tokenizer.encode(f" {words[thing]}")
        whole += _learned(word) if thing in given else _read(word)
        whole += _read(tokenizer.encode(". ")) if turn < len(order) else _learned([tokenizer.eos_id])
        given.add(thing)
    return whole + Reading([], [], meanings)


def _thing(rng: random.Random, tokenizer: BundledTokenizer) -> list[int]:
    """The ids of a noun of the world or of photographs, or any two ids."""
    if rng.random() < NAMELESS:
        first = max(tokenizer.suppress_ids()) + 1
        return [rng.randrange(first, len(tokenizer)) for _ in range(2)]
    names = world.photo_nouns() if rng.random() < PHOTOGRAPHS else world.concepts()
    return tokenizer.encode(f" {rng.choice(names)}")


def _read(ids: list[int]) -> Reading:
    return Reading(ids, [False] * len(ids))


def _learned(ids: list[int]) -> Reading:
    return Reading(ids, [True] * len(ids))
