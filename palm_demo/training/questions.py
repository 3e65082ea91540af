"""Flamingo's training questions, about scenes and photographs that were encoded beforehand."""

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
    "single": ("is_there", "is_there", "background_color", "how_many"),
    "pair": ("is_there", "is_there", "background_color"),
    "count": ("is_there", "how_many", "background_color"),
}
"""Kinds of questions about a picture, by the kind of its scene. All of them are asked each time."""

PLAIN = 0.3
"""Fraction of pictures about which half of the questions are worded as people type them."""

ONE_IN_COUNTS = 0.15
"""Fraction of pictures of one thing where things are counted."""

PHOTOGRAPHS = 0.3
"""Fraction of photographs where a question is about several pictures."""

ASKED_OF_A_PHOTO = 4
"""Questions about a photograph, each of another kind."""

AFTER_EXAMPLES, EXAMPLES = 0.3, 2
"""Fraction of videos that are asked about after examples: others, with the same question and its answer."""

MOST_SHOWN = 8
"""The most pictures of a text that teaches new words."""


@dataclass(frozen=True)
class Asked:
    """Texts about the same media.

    Attributes:
        texts: questions with their answers.
        places: positions of their media in the feature cache.
    """

    texts: Sequence[Reading]
    places: Sequence[int]


class QuestionSampler:
    """Samples questions about media. Each method is one way of asking."""

    def __init__(self, media: Sequence[Medium], tokenizer: BundledTokenizer):
        self.media, self.tokenizer = media, tokenizer
        self.stills: list[int] = []
        self.singles: list[int] = []
        self.counted: list[int] = []
        self.photographs: list[int] = []
        self.travelling: list[int] = []
        self.changing: list[int] = []
        of_noun: dict[str, list[int]] = defaultdict(list)
        of_photo: dict[str, list[int]] = defaultdict(list)
        for place, medium in enumerate(media):
            if isinstance(medium, world.MovingScene):
                (self.changing if medium.way in world.CHANGES else self.travelling).append(place)
                continue
            if isinstance(medium, world.Photograph):
                self.photographs.append(place)
                of_photo[medium.name].append(place)
                continue
            self.stills.append(place)
            if medium.kind == "count":
                self.counted.append(place)
            if medium.kind == "single":
                self.singles.append(place)
                of_noun[medium.names[0]].append(place)
        self.drawn_twice = _of_several(of_noun)
        self.photographed_twice = _of_several(of_photo)

    def name(self, rng: random.Random) -> Asked:
        """Asks for the caption of a single thing."""
        return self._ask(rng, ("caption",), [rng.choice(self.singles)])

    def names(self, rng: random.Random) -> Asked:
        """Asks for captions, and in pairs for what is where."""
        return self._about_one(rng, NAMES)

    def facts(self, rng: random.Random) -> Asked:
        """Asks for the facts of a picture."""
        return self._about_one(rng, FACTS)

    def counts(self, rng: random.Random) -> Asked:
        """Asks how many things there are, now and then of one, and for the caption."""
        place = rng.choice(self.singles if rng.random() < ONE_IN_COUNTS else self.counted)
        return self._ask(rng, ("how_many", "caption"), [place])

    def photograph(self, rng: random.Random) -> Asked:
        """Asks several questions about a photograph."""
        place = rng.choice(self.photographs)
        questions = world.ask_about_photo(rng, self.media[place], ASKED_OF_A_PHOTO, self._plain(rng))
        return Asked([question_reading(question, self.tokenizer) for question in questions], [place])

    def which_picture(self, rng: random.Random) -> Asked:
        """Asks which of two or three pictures shows a thing. No thing is shown twice."""
        if self.photographs and rng.random() < PHOTOGRAPHS:
            return self._which_photograph(rng)
        while True:
            places = rng.choices(self.stills, k=rng.choice((2, 3)))
            names = [name for place in places for name in self.media[place].names]
            if len(set(names)) == len(names):
                return self._ask(rng, ("which_picture", "which_picture"), places)

    def few_shot_naming(self, rng: random.Random) -> Asked:
        """Gives new words to two to four things, then shows other pictures of them."""
        shown = [self._shown_several_times(rng) for _ in range(rng.randint(2, 4))]
        while len(set(map(tuple, shown))) < len(shown):
            shown = [self._shown_several_times(rng) for _ in shown]
        order = shown_again(rng, len(shown), MOST_SHOWN - len(shown))
        first = [rng.choice(places) for places in shown]
        later = [
            rng.choice([place for place in shown[thing] if place != first[thing]])
            for thing in order[len(shown) :]
        ]
        words = world.made_up_words(rng, len(shown))
        return Asked([naming_reading(words, order, self.tokenizer, [])], [*first, *later])

    def way(self, rng: random.Random) -> Asked:
        """Asks which way a thing moves."""
        return self._about_a_video(rng, "way", self.travelling)

    def grows_or_shrinks(self, rng: random.Random) -> Asked:
        """Asks whether a thing grows or shrinks."""
        return self._about_a_video(rng, "grows_or_shrinks", self.changing)

    def _about_a_video(self, rng: random.Random, kind: str, among: Sequence[int]) -> Asked:
        places = rng.sample(among, 1 + EXAMPLES if rng.random() < AFTER_EXAMPLES else 1)
        *examples, question = (world.ask(rng, kind, (self.media[place],)) for place in places)
        return Asked([question_reading(question.after(examples), self.tokenizer)], places)

    def _about_one(self, rng: random.Random, kinds: dict[str, Sequence[str]]) -> Asked:
        place = rng.choice(self.stills)
        return self._ask(rng, kinds[self.media[place].kind], [place], self._plain(rng))

    def _which_photograph(self, rng: random.Random) -> Asked:
        names = rng.sample(list(self.photographed_twice), rng.choice((2, 3)))
        places = [rng.choice(self.photographed_twice[name]) for name in names]
        photos = tuple(self.media[place] for place in places)
        questions = [world.which_photo_question(rng, photos, self._plain(rng)) for _ in range(2)]
        return Asked([question_reading(question, self.tokenizer) for question in questions], places)

    def _shown_several_times(self, rng: random.Random) -> list[int]:
        """The places of pictures or photographs of one thing."""
        photographed = self.photographed_twice and rng.random() < PHOTOGRAPHS
        of_name = self.photographed_twice if photographed else self.drawn_twice
        return of_name[rng.choice(list(of_name))]

    def _plain(self, rng: random.Random) -> bool:
        return rng.random() < PLAIN

    def _ask(
        self, rng: random.Random, kinds: Sequence[str], places: Sequence[int], plain: bool = False
    ) -> Asked:
        media = tuple(self.media[place] for place in places)
        questions = [world.ask(rng, kind, media, plain=plain) for kind in kinds]
        return Asked([question_reading(question, self.tokenizer) for question in questions], places)


def _of_several(places: dict[str, list[int]]) -> dict[str, list[int]]:
    return {name: of_name for name, of_name in places.items() if len(of_name) > 1}


Topic = Callable[[QuestionSampler, random.Random], Asked]

ABOUT_ONE: dict[Topic, float] = {
    QuestionSampler.names: 0.24,
    QuestionSampler.facts: 0.06,
    QuestionSampler.photograph: 0.15,
    QuestionSampler.counts: 0.22,
}
ABOUT_SEVERAL: dict[Topic, float] = {
    QuestionSampler.which_picture: 0.03,
    QuestionSampler.few_shot_naming: 0.22,
    QuestionSampler.way: 0.04,
    QuestionSampler.grows_or_shrinks: 0.04,
}
"""Probabilities of the topics. A batch has a single topic: in a mix of long and short texts, the short
ones would be padded to the length of the long ones."""


def pick_topic(rng: random.Random) -> Topic:
    """The topic of a batch."""
    weights = ABOUT_ONE | ABOUT_SEVERAL
    (topic,) = rng.choices(list(weights), weights=list(weights.values()))
    return topic


def questions_batch(asked: Sequence[Asked], tokenizer: BundledTokenizer) -> Batch:
    """A batch of questions.

    ids, labels: (texts, n), IGNORED where nothing is to be learned. media: (media,), positions in the
    feature cache. firsts: (groups,), the row of each group's first text. shown: (media tokens of all
    texts,), which of `media` each stands for.
    """
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
