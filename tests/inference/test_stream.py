"""Decoding in steps."""

import threading
from functools import partial

import pytest
import torch

from palm_demo.inference.decoding import stream_ids
from palm_demo.inference.sampling import Sampler
from palm_demo.inference.settings import SamplingParams

EOS = 2
CPU = torch.device("cpu")


def greedy(count: int) -> list[Sampler]:
    return [Sampler(SamplingParams(), []) for _ in range(count)]


def script(*rows: list[int]):
    """A model that says these ids, row by row, whatever it is asked."""

    def logits(step: int) -> torch.Tensor:
        said = torch.tensor([row[min(step, len(row) - 1)] for row in rows])
        return torch.nn.functional.one_hot(said, 48).float()

    def prefill(ids, lengths, capacity):
        return logits(0), {"step": 0}

    def decode_step(ids, cache):
        cache["step"] += 1
        return logits(cache["step"])

    return prefill, decode_step


def rows_of(steps) -> list[list[int]]:
    return [[i for i in row if i is not None] for row in zip(*steps, strict=True)]


def palm_rows(palm, prompts, samplers, new: int = 8, eos: int = EOS, scopes=None) -> list[list[int]]:
    prefill = partial(palm.prefill, scopes=scopes)
    return rows_of(stream_ids(prefill, palm.decode_step, prompts, samplers, new, eos, CPU))


def test_greedy_decoding_follows_the_full_forward_pass(new_palm):
    palm, ids = new_palm(), [5, 9, 7]
    (said,) = palm_rows(palm, [ids], greedy(1), new=8, eos=-1)
    for token_id in said:
        assert palm(torch.tensor([ids]))[0, -1].argmax() == token_id
        ids = [*ids, token_id]
    assert len(said) == 8


def test_a_row_ends_at_its_first_new_eos_which_is_not_given_out():
    assert list(stream_ids(*script([5, 6, EOS, 7]), [[1]], greedy(1), 9, EOS, CPU)) == [[5], [6]]


def test_an_eos_in_the_prompt_does_not_stop():
    steps = stream_ids(*script([5, 6, 7]), [[EOS, 4, EOS]], greedy(1), 3, EOS, CPU)
    assert list(steps) == [[5], [6], [7]]


def test_every_row_ends_by_itself():
    model = script([5, EOS, 9, 9], [6, 6, 6, EOS], [EOS, 8, 8, 8])
    steps = list(stream_ids(*model, [[1], [1, 2], [1]], greedy(3), 9, EOS, CPU))
    assert steps == [[5, 6, None], [None, 6, None], [None, 6, None]]


def test_all_rows_end_after_as_many_tokens_as_were_asked_for():
    assert rows_of(stream_ids(*script([5], [6]), [[1], [1]], greedy(2), 4, EOS, CPU)) == [[5] * 4, [6] * 4]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_batch_gives_what_its_rows_give_alone(temperature, new_palm):
    palm = new_palm()
    for weight in palm.add_scope("carroll", 2).parameters():
        weight.data.normal_(std=0.3)
    prompts, scopes = [[5, 9, 7], [EOS], [6, 8, 4, 30, 31]], ["carroll", None, None]

    def sampler(row: int) -> Sampler:
        return Sampler(SamplingParams(temperature, seed=row), [])

    together = palm_rows(palm, prompts, [sampler(row) for row in range(3)], scopes=scopes)
    for row, prompt in enumerate(prompts):
        assert palm_rows(palm, [prompt], [sampler(row)], scopes=[scopes[row]]) == [together[row]]
    assert together[0] != together[1] != together[2]


def test_a_row_that_has_ended_does_not_change_its_neighbours(new_palm):
    palm, prompts = new_palm(), [[5, 9, 7], [6, 8, 4, 30]]
    first, second = palm_rows(palm, prompts, greedy(2), eos=-1)
    ends = next(i for i in first if i not in second)
    shortened = palm_rows(palm, prompts, greedy(2), eos=ends)
    assert shortened == [first[: first.index(ends)], second]


def test_cancelling_stops_before_the_next_token():
    cancelled = threading.Event()
    steps = stream_ids(*script([5]), [[1]], greedy(1), 1000, EOS, CPU, cancelled)
    said = []
    for step in steps:
        said += step
        if len(said) == 3:
            cancelled.set()
    assert said == [5, 5, 5]


def test_what_is_cancelled_beforehand_says_nothing():
    cancelled = threading.Event()
    cancelled.set()
    assert list(stream_ids(*script([5]), [[1]], greedy(1), 9, EOS, CPU, cancelled)) == []


def test_whoever_reads_the_stream_keeps_gradients(new_palm):
    palm = new_palm()
    steps = stream_ids(palm.prefill, palm.decode_step, [[5, 6]], greedy(1), 3, -1, CPU)
    for _ in steps:
        assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
        weight = torch.ones(1, requires_grad=True)
        (weight * 2).backward()
        assert weight.grad is not None
    assert torch.is_grad_enabled()


def test_the_model_runs_without_gradients():
    seen = []

    def prefill(ids, lengths, capacity):
        seen.append(torch.is_grad_enabled())
        return torch.zeros(1, 8), None

    def decode_step(ids, cache):
        seen.append(torch.is_grad_enabled())
        return torch.zeros(1, 8)

    list(stream_ids(prefill, decode_step, [[1]], greedy(1), 3, -1, CPU))
    assert seen == [False, False, False]


def test_repetition_is_counted_in_prompt_and_answer_of_the_row_alone():
    def prefill(ids, lengths, capacity):
        return torch.tensor([[0.0, 4.0, 3.0, 2.5]] * 2), None

    def decode_step(ids, cache):
        return prefill(None, None, None)[0]

    samplers = [Sampler(SamplingParams(repetition_penalty=2.0), []) for _ in range(2)]
    assert rows_of(stream_ids(prefill, decode_step, [[1], [0]], samplers, 2, -1, CPU)) == [[2, 3], [1, 2]]
