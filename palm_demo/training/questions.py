"""What Flamingo is asked in training, about scenes that were drawn beforehand."""

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from palm_demo import world
from palm_demo.models.losses import IGNORED
from palm_demo.models.tokenizers import BundledTokenizer
from palm_demo.training.feature_cache import Medium
from palm_demo.training.loop import Batch
from palm_demo.training.pictures import padded
from palm_demo.training.world_text import Reading, labels_of, naming_reading, question_reading, shown_again

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


MOST_SHOWN = 8
"""Pictures of a text that teaches new words."""


@dataclass(frozen=True)
class Asked:
    """Texts about the same media, which lie at these places of a bank."""

    texts: Sequence[Reading]
    places: Sequence[int]


class QuestionSampler:
    """Asks about media, each way of asking in a method of its own."""

    def __init__(self, media: Sequence[Medium], tokenizer: BundledTokenizer):
        self.media, self.tokenizer = media, tokenizer
        self.stills: list[int] = []
        self.singles: list[int] = []
        self.travelling: list[int] = []
        self.changing: list[int] = []
        of_noun: dict[str, list[int]] = defaultdict(list)
        for paths, medium in enumerate(media):
            if isinstance(medium, world.MovingScene):
                (self.changing if medium.way in world.CHANGES else self.travelling).append(paths)
                continue
            self.stills.append(paths)
            if medium.kind == "single":
                self.singles.append(paths)
                of_noun[medium.names[0]].append(paths)
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
            names = [name for paths in places for name in self.media[paths].names]
            if len(set(names)) == len(names):
                return self._ask(rng, ("which_picture", "which_picture"), places)

    def few_shot_naming(self, rng: random.Random) -> Asked:
        """Two to four things get new words, then come other pictures of them."""
        nouns = rng.sample(list(self.shown_twice), rng.randint(2, 4))
        order = shown_again(rng, len(nouns), MOST_SHOWN - len(nouns))
        first = [rng.choice(self.shown_twice[noun]) for noun in nouns]
        later = [
            rng.choice([paths for paths in self.shown_twice[nouns[thing]] if paths != first[thing]])
            for thing in order[len(nouns) :]
        ]
        words = world.made_up_words(rng, len(nouns))
        return Asked([naming_reading(words, order, self.tokenizer, [])], [*first, *later])

    def way(self, rng: random.Random) -> Asked:
        return self._ask(rng, ("way",), [rng.choice(self.travelling)])

    def grows_or_shrinks(self, rng: random.Random) -> Asked:
        return self._ask(rng, ("grows_or_shrinks",), [rng.choice(self.changing)])

    def _about_one(self, rng: random.Random, kinds: dict[str, Sequence[str]]) -> Asked:
        paths = rng.choice(self.stills)
        return self._ask(rng, kinds[self.media[paths].kind], [paths])

    def _ask(self, rng: random.Random, kinds: Sequence[str], places: Sequence[int]) -> Asked:
        media = tuple(self.media[paths] for paths in places)
        questions = [world.ask(rng, kind, media) for kind in kinds]
        return Asked([question_reading(question, self.tokenizer) for question in questions], places)


Topic = Callable[[QuestionSampler, random.Random], Asked]

ABOUT_ONE: dict[Topic, float] = {QuestionSampler.names: 0.4, QuestionSampler.facts: 0.2}
ABOUT_SEVERAL: dict[Topic, float] = {
    QuestionSampler.which_picture: 0.1,
    QuestionSampler.few_shot_naming: 0.17,
    QuestionSampler.way: 0.05,
    QuestionSampler.grows_or_shrinks: 0.08,
}
"""What a batch asks, and how often. All of a batch is asked the same way: of long and short texts
together, the short would be filled up to the length of the long."""


def pick_topic(rng: random.Random) -> Topic:
    weights = ABOUT_ONE | ABOUT_SEVERAL
    (topic,) = rng.choices(list(weights), weights=list(weights.values()))
    return topic


def questions_batch(asked: Sequence[Asked], tokenizer: BundledTokenizer) -> Batch:
    """ids, labels: (texts, n), what is to be learned as labels. media: (media,), their places in the
    bank. firsts: (groups,), the row of each group's first text. shown: (marks of all texts,), which
    of `media` they stand for."""
    texts, media, firsts, shown = [], [], [], []
    for group in asked:
        firsts.append(len(texts))
        texts += group.texts
        shown += [*range(len(media), len(media) + len(group.places))] * len(group.texts)
        media += group.places
    return {
        "ids": padded([text.ids[:-1] for text in texts], tokenizer.pad_id),
        "labels": padded([labels_of(text) for text in texts], IGNORED),
        "media": torch.tensor(media),
        "firsts": torch.tensor(firsts),
        "shown": torch.tensor(shown),
    }
