"""What Flamingo is asked in training, and how its answers are weighed."""

import random
import re

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from palm_demo import world
from palm_demo.models.losses import IGNORED
from palm_demo.models.transformer import TransformerConfig
from palm_demo.training.feature_cache import FeatureCache
from palm_demo.training.flamingo import FlamingoRecipe, answer_loss, answers, curriculum, exact_match
from palm_demo.training.questions import (
    ABOUT_ONE,
    ABOUT_SEVERAL,
    MOST_SHOWN,
    QuestionSampler,
    questions_batch,
)

NOUNS = ("cat", "dog", "pear", "horse", "key")
PHOTOS = ("beagle", "tabby cat", "hay", "banana")


@pytest.fixture(scope="module")
def media():
    rng = random.Random(0)
    stills = [world.single_scene(rng, names=[noun]) for noun in NOUNS for _ in range(2)]
    stills += [world.pair_scene(rng) for _ in range(5)] + [world.count_scene(rng) for _ in range(5)]
    photos = [world.Photograph(name) for name in PHOTOS for _ in range(2)]
    return [*stills, *(world.moving_scene(rng, way) for way in (*world.WAYS, *world.WAYS)), *photos]


@pytest.fixture(scope="module")
def question_sampler(media, tokenizer):
    return QuestionSampler(media, tokenizer)


@pytest.fixture
def flamingo(new_flamingo, tokenizer):
    """One whose PaLM reads the real tokenizer's ids."""
    model = new_flamingo(
        size=TransformerConfig(dim=32, depth=2, heads=2, vocab=len(tokenizer), dim_head=16, ff_mult=2)
    )
    model.media_token_id = tokenizer.media_id
    return model


def test_counts_are_asked_of_scenes_that_were_drawn_to_be_counted(question_sampler):
    asked = [question_sampler.counts(random.Random(seed)) for seed in range(100)]
    kinds = [question_sampler.media[one.places[0]].kind for one in asked]
    assert set(kinds) == {"single", "count"}
    assert kinds.count("count") > 50


def test_lessons_come_one_after_the_other():
    lessons = curriculum(
        FlamingoRecipe(
            "", naming_steps=2, pointing_steps=1, moving_steps=2, counting_steps=1, new_word_steps=1
        )
    )
    assert [topic.__name__ for topic in lessons] == [
        "name",
        "name",
        "which_picture",
        "way",
        "grows_or_shrinks",
        "counts",
        "few_shot_naming",
    ]


@pytest.mark.parametrize(
    "topic", [*ABOUT_ONE, *ABOUT_SEVERAL, QuestionSampler.name], ids=lambda topic: topic.__name__
)
def test_texts_have_a_mark_for_each_of_their_media(topic, question_sampler, tokenizer):
    rng = random.Random(1)
    for _ in range(20):
        asked = topic(question_sampler, rng)
        assert {text.ids.count(tokenizer.media_id) for text in asked.texts} == {len(asked.places)}


def test_a_noun_that_is_asked_for_is_shown(question_sampler, media, tokenizer):
    rng = random.Random(1)
    for _ in range(20):
        asked = question_sampler.way(rng)
        said = tokenizer.decode(asked.texts[0].ids)
        assert all(f"does the {media[place].names[0]} move" in said for place in asked.places)


def test_a_photograph_is_asked_different_things(question_sampler, media, tokenizer):
    rng, said = random.Random(1), set()
    for _ in range(60):
        asked = question_sampler.photograph(rng)
        (name,) = {media[place].name for place in asked.places}
        texts = [tokenizer.decode(text.ids) for text in asked.texts]
        assert len(set(texts)) == len(texts)
        said |= {(name, text.partition("answer: ")[2]) for text in texts}
    assert {("hay", "hay"), ("beagle", "a beagle"), ("beagle", "yes"), ("hay", "no")} <= said


def test_one_thing_may_be_counted_too(question_sampler, tokenizer):
    rng = random.Random(1)
    texts = [tokenizer.decode(t.ids) for _ in range(40) for t in question_sampler.facts(rng).texts]
    assert any("how many" in text and text.endswith(" one") for text in texts)


def test_some_videos_are_asked_about_after_examples(question_sampler, media, tokenizer):
    rng, shown = random.Random(2), set()
    for _ in range(40):
        asked = question_sampler.way(rng)
        (text,) = asked.texts
        said = tokenizer.decode(text.ids)
        ways = [world.ask(rng, "way", (media[place],)).answer for place in asked.places]
        assert [part.strip() for part in re.findall(r"answer:((?: [a-z]+)+)", said)] == ways
        shown.add(len(asked.places))
    assert shown == {1, 3}


def test_few_shot_naming_shows_other_pictures_of_what_was_taught(question_sampler, media, tokenizer):
    rng = random.Random(2)
    for _ in range(20):
        asked = question_sampler.few_shot_naming(rng)
        (text,) = asked.texts
        words = [said.split(".")[0] for said in tokenizer.decode(text.ids).split(" this is a ")[1:]]
        nouns = [media[place].names[0] for place in asked.places]
        named = dict(zip(nouns, words, strict=False))
        assert [named[noun] for noun in nouns] == words
        assert len(set(named.values())) == len(named) < len(words) == MOST_SHOWN
        taught = asked.places[: len(named)]
        assert not set(taught) & set(asked.places[len(named) :])


def test_a_batch_has_what_is_learned_as_labels_and_each_medium_once(question_sampler, tokenizer):
    rng = random.Random(3)
    asked = [
        topic(question_sampler, rng)
        for topic in (QuestionSampler.facts, QuestionSampler.which_picture, QuestionSampler.way)
    ]
    batch = questions_batch(asked, tokenizer)
    texts = [text for group in asked for text in group.texts]
    assert batch["media"].tolist() == [place for group in asked for place in group.places]
    assert len(batch["shown"]) == (batch["ids"] == tokenizer.media_id).sum()
    for ids, labels, text in zip(batch["ids"], batch["labels"], texts, strict=True):
        assert ids[: len(text.ids) - 1].tolist() == text.ids[:-1]
        learned = [i for i, wanted in zip(text.ids, text.learned, strict=True) if wanted]
        assert labels[labels != IGNORED].tolist() == learned
        (at,) = (labels == learned[0]).nonzero()[0].tolist()
        assert ids[at + 1] == learned[0]
    first, *_ = batch["shown"][batch["firsts"][1] :].tolist()
    assert batch["media"][first] == asked[1].places[0]


def test_the_loss_is_the_mean_over_questions_of_each_answers_mean(question_sampler, flamingo, tokenizer):
    rng = random.Random(4)
    asked = [
        topic(question_sampler, rng)
        for topic in (QuestionSampler.names, QuestionSampler.facts, QuestionSampler.few_shot_naming)
    ]
    batch = questions_batch(asked, tokenizer)
    feature_cache = FeatureCache(question_sampler.media, *made_up_patches(question_sampler.media))
    latents = flamingo.embed_patches(feature_cache.patches_of(batch["media"]), batch["ids"][batch["firsts"]])
    logits = flamingo.logits(batch["ids"], latents[batch["shown"]])
    expected = [
        F.cross_entropy(row[labels != IGNORED], labels[labels != IGNORED])
        for row, labels in zip(logits, batch["labels"], strict=True)
    ]
    assert_close(
        answer_loss(flamingo, feature_cache.patches_of(batch["media"]), batch), torch.stack(expected).mean()
    )


def test_an_answer_is_right_when_all_of_its_ids_are(question_sampler, flamingo, tokenizer):
    rng = random.Random(5)
    batch = questions_batch([question_sampler.names(rng) for _ in range(6)], tokenizer)
    feature_cache = FeatureCache(question_sampler.media, *made_up_patches(question_sampler.media))
    assert exact_match(flamingo, feature_cache, batch) == 0
    logits, _, questions = answers(flamingo, feature_cache.patches_of(batch["media"]), batch)
    labels = batch["labels"].clone()
    labels[labels != IGNORED] = logits.argmax(dim=-1)
    assert exact_match(flamingo, feature_cache, batch | {"labels": labels}) == 1
    last_of_first = (questions == 0).sum() - 1
    at = (labels[0] != IGNORED).nonzero()[last_of_first]
    labels[0, at] = (labels[0, at] + 1) % len(tokenizer)
    assert exact_match(flamingo, feature_cache, batch | {"labels": labels}) == pytest.approx(
        1 - 1 / len(labels)
    )


def made_up_patches(media) -> tuple[torch.Tensor, torch.Tensor]:
    """Patches of four tokens, 24 wide, and how many frames each medium has."""
    counts = torch.tensor([2 if isinstance(medium, world.MovingScene) else 1 for medium in media])
    return torch.randn(int(counts.sum()), 4, 24), counts
