"""What is said of drawn scenes and of photographs, and photographs that are imagined."""

import random

import pytest
import timm
import torch

from palm_demo import world
from palm_demo.models.losses import IGNORED
from palm_demo.models.vision import Twin
from palm_demo.training.photo_features import CERTAIN, PhotoFeatures, certain_names
from palm_demo.training.photo_words import NAMES, definitions, text_of, words_batch
from palm_demo.training.wordnet import RelatedWords


@pytest.fixture
def pictures():
    rng = random.Random(0)
    names = ("tabby cat", "zebra", "siamese cat")
    return [world.single_scene(rng, names=["cat"]), world.count_scene(rng), *map(world.Photograph, names)]


def test_captions_end_and_are_shifted_by_one(pictures, tokenizer):
    batch = words_batch(pictures, random.Random(0), tokenizer)
    for ids, labels in zip(batch["caption_ids"].tolist(), batch["caption_labels"].tolist(), strict=True):
        said = [label for label in labels if label != IGNORED]
        assert ids[: len(said)] == [tokenizer.bos_id, *said[:-1]]
        assert said[-1] == tokenizer.eos_id
        assert set(ids[len(said) :]) <= {tokenizer.pad_id}


def test_what_is_true_of_another_picture_too_is_not_held_against_it(pictures, tokenizer):
    for seed in range(20):
        batch = words_batch(pictures, random.Random(seed), tokenizer)
        assert batch["name_ids"].shape[0] == NAMES
        assert not batch["also_named"].gather(1, batch["nouns"]).any()
        texts = [tokenizer.decode(ids).strip() for ids in batch["text_ids"].tolist()]
        for place, text in enumerate(texts):
            if text in ("a cat", "a photo of a cat"):
                assert batch["also_true"][place].nonzero().flatten().tolist() == [
                    p for p in (0, 2, 4) if p != place
                ]


def test_a_word_above_a_name_says_that_word(pictures):
    said = {text_of(pictures[2], random.Random(seed)) for seed in range(500)}
    assert ("a photo of a cat", "cat") in said and ("a photo of a tabby cat", "tabby cat") in said
    assert any(definitions()["tabby cat"].startswith(text) for text, _ in said)


def test_a_related_word_is_said_of_all_that_it_stands_for(pictures, tokenizer):
    related = RelatedWords(
        {name: ("feline",) for name in ("cat", "tabby cat")}, {"feline": "an animal that purrs"}
    )
    said = {text_of(pictures[2], random.Random(seed), related) for seed in range(500)}
    assert ("a photo of a feline", "feline") in said and ("an animal that purrs", "feline") in said
    found = set()
    for seed in range(100):
        batch = words_batch(pictures, random.Random(seed), tokenizer, related)
        for place, ids in enumerate(batch["text_ids"].tolist()):
            if "feline" in tokenizer.decode(ids):
                others = batch["also_true"][place].nonzero().flatten().tolist()
                assert set(others) == {0, 2} - {place}
                found.add(place)
    assert found == {0, 2}


def test_names_are_those_of_both_worlds_once():
    assert len(set(world.all_names())) == len(world.all_names())
    assert {*world.concepts(), *world.photo_nouns()} == set(world.all_names())


def test_a_real_photograph_has_a_name_where_the_classifier_is_certain():
    probabilities = torch.full((2, 1000), 1e-4)
    probabilities[0, 281], probabilities[1, 281] = CERTAIN + 0.1, CERTAIN - 0.1
    assert certain_names(probabilities) == [world.photo_classes()[281].name, None]


def test_an_imagined_photograph_is_a_crop_with_another_answer():
    torch.manual_seed(0)
    twin = Twin(timm.create_model("tf_efficientnet_lite0"), count=6, width=16, width_answers=256, classes=5)
    twin.fill_answers_(torch.randn(1000, 1280))
    seen = PhotoFeatures(torch.randn(3, 4, 272), twin, [None] * 3)
    classes = torch.arange(0, 1000, 10)
    made = seen.imagined(classes, torch.Generator().manual_seed(1))
    assert made.shape == (100, 4, 272)
    assert all(any(torch.equal(one[:, :16], crop[:, :16]) for crop in seen.patches) for one in made)
    nearest = (made[:, 0, 16:] @ twin.answers.T).argmax(dim=1)
    assert (nearest == classes).float().mean() > 0.7
    again = seen.imagined(classes, torch.Generator().manual_seed(1))
    assert torch.equal(made, again)
