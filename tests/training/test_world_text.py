"""The world in words: what is to be learned of it, and what stands at its marks."""

import random

import pytest
import torch

from palm_demo import world
from palm_demo.models.losses import IGNORED
from palm_demo.models.transformer import TransformerConfig
from palm_demo.training.objectives import Meanings, meaning
from palm_demo.training.palm import exact_match, states_with_meanings, world_batch
from palm_demo.training.world_text import naming_reading, question_reading, shown_again, world_window


def learned(reading, tokenizer) -> str:
    return tokenizer.decode([i for i, wanted in zip(reading.ids, reading.learned, strict=True) if wanted])


def test_windows_depend_on_their_seed_alone(tokenizer):
    one, again, other = (world_window(64, random.Random(seed), tokenizer) for seed in (1, 1, 2))
    assert one == again != other
    assert len(one.ids) == len(one.learned) == 64 and one.ids[0] == tokenizer.bos_id


@pytest.mark.parametrize("seed", range(5))
def test_a_text_is_told_what_its_mark_means(tokenizer, seed):
    window = world_window(128, random.Random(seed), tokenizer)
    batch = world_batch([window], tokenizer)
    marks = [place for place, i in enumerate(window.ids[:-1]) if i == tokenizer.media_id]
    mark_of = batch["mark_of"][0].tolist()
    assert [mark_of[place] for place in marks] == list(range(len(marks)))
    assert all(mark_of[place] == -1 for place, i in enumerate(window.ids[:-1]) if i == tokenizer.bos_id)
    for place, token_id in enumerate(window.ids[:-1]):
        if token_id not in (tokenizer.media_id, tokenizer.bos_id):
            assert mark_of[place] == mark_of[place - 1]
    assert len(batch["words"]) == len(marks) and (batch["words"][:, 0] >= 0).all()


@pytest.mark.parametrize("kind", world.KINDS)
def test_of_a_question_the_answer_is_learned(tokenizer, kind):
    question = world.sample_question(random.Random(0), kind)
    reading = question_reading(question, tokenizer)
    assert learned(reading, tokenizer) == f" {question.answer}"
    assert reading.ids[-1] == tokenizer.eos_id and reading.learned[-1]


def test_a_picture_means_its_things_and_what_is_asked_about_them():
    moving = world.sample_question(random.Random(0), "way").media[0]
    assert meaning(moving) == [moving.scene.names[0], moving.scene.background.color, moving.way]
    many = world.count_scene(random.Random(0), count=3)
    assert meaning(many) == [many.names[0], many.background.color, "three"]


def test_new_words_are_learned_once_they_were_given(tokenizer):
    order = [0, 1, 1, 0]
    reading = naming_reading(["dax", "wug"], order, tokenizer, [])
    text = " this is a dax.  this is a wug.  this is a wug.  this is a dax"
    assert tokenizer.decode(reading.ids) == text and reading.ids.count(tokenizer.media_id) == 4
    assert learned(reading, tokenizer) == " wug dax"
    assert reading.learned[-1] and reading.ids[-1] == tokenizer.eos_id


@pytest.mark.parametrize("seed", range(5))
def test_everything_is_shown_once_before_anything_is_shown_again(seed):
    order = shown_again(random.Random(seed), 3, 5)
    assert order[:3] == [0, 1, 2] and len(order) == 8 and set(order) == {0, 1, 2}


def test_what_is_not_to_be_learned_is_ignored(tokenizer, new_palm):
    question = world.sample_question(random.Random(0), "is_there")
    batch = world_batch([question_reading(question, tokenizer)], tokenizer)
    wanted = batch["world_labels"][batch["world_labels"] != IGNORED].tolist()
    assert tokenizer.decode(wanted) == f" {question.answer}" and wanted[-1] == tokenizer.eos_id


def test_a_meaning_is_heard_by_its_text_and_by_what_sees_that(new_palm):
    palm, meanings = (
        new_palm(size=TransformerConfig(dim=32, depth=4, heads=2, vocab=48, dim_head=16)),
        Meanings(32).eval(),
    )
    batch = {
        "world_ids": torch.randint(4, 48, (2, 6)),
        "words": torch.tensor([[7, 9, -1]]),
        "mark_of": torch.tensor([[-1, -1, 0, 0, -1, -1], [-1] * 6]),
    }
    without = palm.decoder(palm.decoder.embedding(batch["world_ids"]))
    changed = (states_with_meanings(palm, meanings, batch) - without).abs().sum(dim=-1) > 1e-6
    assert changed.tolist() == [[False, False, True, True, True, True], [False] * 6]


def test_meanings_do_not_depend_on_the_order_of_words_or_what_fills_them_up():
    meanings, embedding = Meanings(16).eval(), torch.randn(20, 16)
    words = torch.tensor([[4, 5, 6, -1], [6, 4, 5, -1], [4, 5, -1, -1]])
    one, turned, fewer = meanings(words, embedding)
    torch.testing.assert_close(one, turned)
    assert not torch.allclose(one, fewer)


def test_a_row_is_right_when_each_learned_token_is_the_likeliest():
    labels = torch.tensor([[IGNORED, 1, 2], [0, 1, IGNORED]])
    logits = torch.nn.functional.one_hot(torch.tensor([[0, 1, 2], [0, 0, 0]]), 3).float()
    assert exact_match(logits, labels) == 0.5
