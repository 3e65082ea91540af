"""Batches of training: labels, and rows of unequal length."""

from palm_demo.models.losses import IGNORED
from palm_demo.training.palm import next_token_batch
from palm_demo.training.pictures import padded


def test_labels_are_the_ids_shifted_right():
    batch = next_token_batch([[1, 5, 6, 7], [1, 8, 9, 2]], unlearned=set())
    assert batch["ids"].tolist() == [[1, 5, 6], [1, 8, 9]]
    assert batch["labels"].tolist() == [[5, 6, 7], [8, 9, 2]]


def test_ids_that_no_model_may_say_are_read_and_not_learned():
    batch = next_token_batch([[1, 5, 3, 7, 1]], unlearned={1, 3})
    assert batch["ids"].tolist() == [[1, 5, 3, 7]]
    assert batch["labels"].tolist() == [[5, IGNORED, 7, IGNORED]]


def test_rows_are_padded_on_the_right():
    assert padded([[1, 2, 3], [4]], fill=9).tolist() == [[1, 2, 3], [4, 9, 9]]
