"""Texts that MaMMUT learns for drawn scenes and photographs."""

import random
from collections.abc import Sequence
from functools import cache

import torch
from timm.data import ImageNetInfo
from torch import Tensor

from palm_demo import world
from palm_demo.models.losses import IGNORED
from palm_demo.models.tokenizers import BundledTokenizer
from palm_demo.training.pictures import padded
from palm_demo.training.wordnet import RelatedWords
from palm_demo.world.photographs import above, named

NAMES = 128
"""Number of names that the pictures of a batch are compared with."""

LONGEST = 12
"""The most words of a definition that are used, because a batch is padded to its longest text."""

NAMED_ALONE = 0.2
"""Fraction of the contrastive texts for one drawn thing that leave out the background, as labels do."""

RELATED = 0.15
"""Fraction of the contrastive texts for one thing that say a related word of WordNet's, or its definition."""

PHOTO_FORMS = ("a photo of {}", "a photo of {}", "{}", "{}", "a picture of {}", "this is {}")

Pictured = world.Scene | world.Photograph


@cache
def definitions() -> dict[str, str]:
    """WordNet's definitions by the name of a photograph; that of the last class where two have one name."""
    info = ImageNetInfo()
    return {
        noun.name: info.index_to_description(number, detailed=True).split(": ", 1)[-1]
        for number, noun in enumerate(world.photo_classes())
    }


def caption_of(picture: Pictured) -> str:
    """The caption of a drawn scene or a photograph."""
    return (
        world.photo_caption(picture.name) if isinstance(picture, world.Photograph) else world.caption(picture)
    )


def words_of(picture: Pictured) -> frozenset[str]:
    """Names and everyday words that are true of a picture's things."""
    return frozenset(word for name in picture.names for word in (name, *above(name)))


def text_of(
    picture: Pictured, rng: random.Random, related: RelatedWords | None = None
) -> tuple[str, str | None]:
    """A text for the contrastive loss, and the one word that it says, or None if it says more."""
    name, is_photo = picture.names[0], isinstance(picture, world.Photograph)
    if related is not None and len(set(picture.names)) == 1 and rng.random() < RELATED:
        word = rng.choice(related.of_name.get(name) or (name,))
        return _related_text(word, is_photo, rng, related)
    if is_photo:
        return _photo_text(name, rng)
    text = rng.choice(world.captions(picture))
    if len(picture.things) == 1 and rng.random() < NAMED_ALONE:
        words = above(name)
        word = rng.choice(words) if words and rng.random() < 0.3 else name
        return named(word), word
    return text, None


def _photo_text(name: str, rng: random.Random) -> tuple[str, str]:
    dice = rng.random()
    if dice < 0.15:
        return _begun(definitions()[name]), name
    words = above(name)
    word = rng.choice(words) if words and dice < 0.35 else name
    return rng.choice(PHOTO_FORMS).format(named(word)), word


def _related_text(word: str, is_photo: bool, rng: random.Random, related: RelatedWords) -> tuple[str, str]:
    if word in related.definitions and rng.random() < 0.25:
        return _begun(related.definitions[word]), word
    form = rng.choice(PHOTO_FORMS) if is_photo else rng.choice(("{}", "{}", "this is {}"))
    return form.format(rng.choice((world.indefinite(word), word))), word


def _begun(definition: str) -> str:
    """The first words of a definition."""
    return " ".join(definition.split()[:LONGEST])


def words_batch(
    pictures: Sequence[Pictured],
    rng: random.Random,
    tokenizer: BundledTokenizer,
    related: RelatedWords | None = None,
) -> dict[str, Tensor]:
    """The texts of a batch of pictures: captions, and texts and names for contrast.

    also_true: (b, b) bool, whether a text is also true of another's picture. name_ids: NAMES names and
    everyday words, among them all names of the pictures. nouns: (b, 2), the positions among them of
    the first and last thing of each picture. also_named: (b, NAMES) bool, which others are true of it.
    """
    captions = tokenizer.encode_batch([caption_of(picture) for picture in pictures])
    texts = [text_of(picture, rng, related) for picture in pictures]
    text_ids = padded(tokenizer.encode_batch([text for text, _ in texts]), tokenizer.pad_id)
    true = [words_of(picture) for picture in pictures]
    said = [words | _related_of(picture, related) for words, picture in zip(true, pictures, strict=True)]
    also_true = torch.tensor([[word in words for words in said] for _, word in texts])
    return {
        "caption_ids": padded([[tokenizer.bos_id, *c] for c in captions], tokenizer.pad_id),
        "caption_labels": padded([[*c, tokenizer.eos_id] for c in captions], IGNORED),
        "text_ids": text_ids,
        "text_real": text_ids != tokenizer.pad_id,
        "also_true": also_true & ~torch.eye(len(pictures), dtype=torch.bool),
        **_naming(pictures, true, rng, tokenizer),
    }


def _related_of(picture: Pictured, related: RelatedWords | None) -> frozenset[str]:
    if related is None:
        return frozenset()
    return frozenset(word for name in picture.names for word in related.of_name.get(name, ()))


def _naming(
    pictures: Sequence[Pictured],
    true: Sequence[frozenset[str]],
    rng: random.Random,
    tokenizer: BundledTokenizer,
) -> dict[str, Tensor]:
    shown = {name: None for picture in pictures for name in picture.names}
    others = [name for name in world.all_names() if name not in shown]
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
