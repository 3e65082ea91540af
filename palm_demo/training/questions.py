"""What Flamingo is asked in training, about scenes that were drawn beforehand."""

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from palm_demo import world
from palm_demo.models.palm import IGNORED
from palm_demo.prompting import encode_interleaved
from palm_demo.tokenizer import Tokenizer
from palm_demo.training.bank import Medium
from palm_demo.training.loop import Batch
from palm_demo.training.pictures import padded

NAMES = {
    "single": ("caption",),
    "pair": ("caption", "what_is_where"),
    "count": ("caption",),
}
FACTS = {
    "single": ("is_there", "is_there", "background_color"),
    "pair": ("is_there", "is_there", "background_color"),
    "count": ("is_there", "how_many", "background_color"),
}
"""What is asked about a picture, by its kind, all of it each time."""


@dataclass(frozen=True)
class Asked:
    """Questions about the same media, which lie at these places of a bank."""

    questions: Sequence[world.Question]
    places: Sequence[int]


class Examiner:
    """Asks about media, each way of asking in a method of its own."""

    def __init__(self, media: Sequence[Medium]):
        self.media = media
        self.stills: list[int] = []
        self.singles: list[int] = []
        self.travelling: list[int] = []
        self.changing: list[int] = []
        of_noun: dict[str, list[int]] = defaultdict(list)
        for place, medium in enumerate(media):
            if isinstance(medium, world.MovingScene):
                (self.changing if medium.way in world.CHANGES else self.travelling).append(place)
                continue
            self.stills.append(place)
            if medium.kind == "single":
                self.singles.append(place)
                of_noun[medium.names[0]].append(place)
        self.shown_twice = {noun: places for noun, places in of_noun.items() if len(places) > 1}

    def name(self, rng: random.Random) -> Asked:
        """The caption of a single thing."""
        return self._ask(rng, ("caption",), [rng.choice(self.singles)])

    def names(self, rng: random.Random) -> Asked:
        return self._about_one(rng, NAMES)

    def facts(self, rng: random.Random) -> Asked:
        return self._about_one(rng, FACTS)

    def which_picture(self, rng: random.Random) -> Asked:
        """Of two or three in which nothing is shown twice."""
        while True:
            places = rng.choices(self.stills, k=rng.choice((2, 3)))
            names = [name for place in places for name in self.media[place].names]
            if len(set(names)) == len(names):
                return self._ask(rng, ("which_picture", "which_picture"), places)

    def few_shot_naming(self, rng: random.Random) -> Asked:
        """Two to four things, then another picture of one of them."""
        nouns = rng.sample(list(self.shown_twice), rng.randint(2, 4))
        asked = rng.choice(nouns)
        first, again = rng.sample(self.shown_twice[asked], 2)
        taught = [first if noun == asked else rng.choice(self.shown_twice[noun]) for noun in nouns]
        return self._ask(rng, ("few_shot_naming", "few_shot_naming"), [*taught, again])

    def way(self, rng: random.Random) -> Asked:
        return self._ask(rng, ("way",), [rng.choice(self.travelling)])

    def grows_or_shrinks(self, rng: random.Random) -> Asked:
        return self._ask(rng, ("grows_or_shrinks",), [rng.choice(self.changing)])

    def _about_one(self, rng: random.Random, kinds: dict[str, Sequence[str]]) -> Asked:
        place = rng.choice(self.stills)
        return self._ask(rng, kinds[self.media[place].kind], [place])

    def _ask(self, rng: random.Random, kinds: Sequence[str], places: Sequence[int]) -> Asked:
        media = tuple(self.media[place] for place in places)
        return Asked([world.ask(rng, kind, media) for kind in kinds], places)


Topic = Callable[[Examiner, random.Random], Asked]

ABOUT_ONE: dict[Topic, float] = {Examiner.names: 0.5, Examiner.facts: 0.2}
ABOUT_SEVERAL: dict[Topic, float] = {
    Examiner.which_picture: 0.1,
    Examiner.few_shot_naming: 0.05,
    Examiner.way: 0.1,
    Examiner.grows_or_shrinks: 0.05,
}
"""What a batch asks, and how often. All of a batch is asked the same way: of long and short questions
together, the short would be filled up to the length of the long."""


def pick_topic(rng: random.Random) -> Topic:
    weights = ABOUT_ONE | ABOUT_SEVERAL
    (topic,) = rng.choices(list(weights), weights=list(weights.values()))
    return topic


def questions_batch(asked: Sequence[Asked], tokenizer: Tokenizer) -> Batch:
    """ids, labels: (questions, n), the answers' ids as labels. media: (media,), their places in the
    bank. firsts: (groups,), the row of each group's first question. shown: (marks of all
    questions,), which of `media` they stand for."""
    rows, labels, media, firsts, shown = [], [], [], [], []
    for group in asked:
        firsts.append(len(rows))
        shown += [*range(len(media), len(media) + len(group.places))] * len(group.questions)
        media += group.places
        for question in group.questions:
            prompt = [tokenizer.bos_id, *encode_interleaved(question.prompt, tokenizer)]
            answer = [*tokenizer.encode(f" {question.answer}"), tokenizer.eos_id]
            rows.append([*prompt, *answer[:-1]])
            labels.append([*[IGNORED] * (len(prompt) - 1), *answer])
    return {
        "ids": padded(rows, tokenizer.pad_id),
        "labels": padded(labels, IGNORED),
        "media": torch.tensor(media),
        "firsts": torch.tensor(firsts),
        "shown": torch.tensor(shown),
    }
