"""What MaMMUT learns to say of drawn scenes and of photographs, and photographs of things nobody
photographed.

There are no photographs with words. There is the trunk's classifier, whose answer is a part of what the tower
gives out: beside what the tower's twin saw of any photograph, the answer that a photograph of a thing would
get is put, with the doubts that a classifier has, and the thing's name is what is to be said.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from timm.data import ImageNetInfo
from torch import Tensor

from palm_demo import world
from palm_demo.models.losses import IGNORED
from palm_demo.models.tokenizers import BundledTokenizer
from palm_demo.models.vision import Twin
from palm_demo.training.pictures import padded
from palm_demo.world.photographs import above, named

NAMES = 256
"""Names that the pictures of a batch are told apart from."""

NAMED_ALONE = 0.2
"""Part of the contrastive texts for one drawn thing that leave the background out, as labels do."""

SURE = (8.5, 15.5)
"""How much likelier a classifier finds what is like its first thought: logits for each unit of likeness, from
the tenth to the ninetieth of a hundred photographs."""

DOUBT = 1.7
"""Deviation of what is left of a photograph's logits."""

CERTAIN = 0.5
"""Probability from which a real photograph's name is taken from the classifier."""

Pictured = world.Scene | world.Photograph


@dataclass(frozen=True)
class Photographed:
    """What the tower saw of photographs.

    patches: (crops, p, width), each of which ends with the twin's answer. names: of each crop, where the
    classifier is certain.
    """

    patches: Tensor
    twin: Twin
    names: Sequence[str | None]

    def imagined(self, numbers: Tensor, generator: torch.Generator) -> Tensor:
        """(n,) classes -> (n, p, width): a photograph of each."""
        crops = torch.randint(len(self.patches), (len(numbers),), generator=generator)
        directions = F.normalize(self.twin.answers.float(), dim=1)
        likeness = directions[numbers] @ directions.T
        least, most = SURE
        sure = least + (most - least) * torch.rand(len(numbers), 1, generator=generator)
        logits = sure * likeness + DOUBT * torch.randn(likeness.shape, generator=generator)
        answer = self.twin.answer(logits).float()
        patches = self.patches[crops].float()
        patches[..., -answer.shape[1] :] = answer[:, None]
        return patches


def certain_names(probabilities: Tensor) -> list[str | None]:
    """(crops, classes) -> the name of each, None where no class is certain."""
    classes = world.photo_classes()
    best, places = probabilities.max(dim=1)
    return [
        classes[place].name if much >= CERTAIN else None
        for much, place in zip(best.tolist(), places.tolist(), strict=True)
    ]


@cache
def definitions() -> dict[str, str]:
    """Name of a photograph -> WordNet's definition of it, for names of one class."""
    info, classes = ImageNetInfo(), world.photo_classes()
    said: dict[str, str] = {}
    for number, noun in enumerate(classes):
        said[noun.name] = info.index_to_description(number, detailed=True).split(": ", 1)[-1]
    return said


def caption_of(picture: Pictured) -> str:
    return (
        world.photo_caption(picture.name) if isinstance(picture, world.Photograph) else world.caption(picture)
    )


def words_of(picture: Pictured) -> frozenset[str]:
    """Names and everyday words that are true of a picture's things."""
    return frozenset(word for name in picture.names for word in (name, *above(name)))


def text_of(picture: Pictured, rng: random.Random) -> tuple[str, str | None]:
    """A text for contrast, and the word that it says alone, None where it says more than that."""
    if isinstance(picture, world.Photograph):
        return _photo_text(picture.name, rng)
    text = rng.choice(world.captions(picture))
    if len(picture.things) == 1 and rng.random() < NAMED_ALONE:
        words = above(picture.names[0])
        word = rng.choice(words) if words and rng.random() < 0.3 else picture.names[0]
        return named(word), word
    return text, None


def _photo_text(name: str, rng: random.Random) -> tuple[str, str]:
    dice = rng.random()
    if dice < 0.15:
        return definitions()[name], name
    words = above(name)
    word = rng.choice(words) if words and dice < 0.35 else name
    form = rng.choice(("a photo of {}", "a photo of {}", "{}", "{}", "a picture of {}", "this is {}"))
    return form.format(named(word)), word


def words_batch(
    pictures: Sequence[Pictured], rng: random.Random, tokenizer: BundledTokenizer
) -> dict[str, Tensor]:
    """What is said of pictures: the caption in its one order, the text for contrast in any.

    also_true: (b, b) bool, whether a text says something that is true of another's picture too. name_ids:
    NAMES names and everyday words, among them all of the pictures'; nouns: (b, 2) which of them the first
    and the last thing of each picture are; also_named: (b, NAMES), which others are true of it.
    """
    captions = tokenizer.encode_batch([caption_of(picture) for picture in pictures])
    said = [text_of(picture, rng) for picture in pictures]
    text_ids = padded(tokenizer.encode_batch([text for text, _ in said]), tokenizer.pad_id)
    true = [words_of(picture) for picture in pictures]
    also_true = torch.tensor([[word in words for words in true] for _, word in said])
    return {
        "caption_ids": padded([[tokenizer.bos_id, *c] for c in captions], tokenizer.pad_id),
        "caption_labels": padded([[*c, tokenizer.eos_id] for c in captions], IGNORED),
        "text_ids": text_ids,
        "text_real": text_ids != tokenizer.pad_id,
        "also_true": also_true & ~torch.eye(len(pictures), dtype=torch.bool),
        **_naming(pictures, true, rng, tokenizer),
    }


@cache
def all_names() -> tuple[str, ...]:
    """Of drawn things and of photographs, each once."""
    return tuple(dict.fromkeys((*world.concepts(), *world.photo_nouns())))


def _naming(
    pictures: Sequence[Pictured],
    true: Sequence[frozenset[str]],
    rng: random.Random,
    tokenizer: BundledTokenizer,
) -> dict[str, Tensor]:
    shown = {name: None for picture in pictures for name in picture.names}
    others = [name for name in all_names() if name not in shown]
    names = [*shown, *rng.sample(others, max(0, NAMES - len(shown)))]
    number = {name: place for place, name in enumerate(names)}
    ids = padded(tokenizer.encode_batch([named(name) for name in names]), tokenizer.pad_id)
    nouns = torch.tensor([[number[p.names[0]], number[p.names[-1]]] for p in pictures])
    also = torch.tensor([[name in words for name in names] for words in true])
    return {
        "name_ids": ids,
        "name_real": ids != tokenizer.pad_id,
        "nouns": nouns,
        "also_named": also.scatter(1, nouns, False),
    }
