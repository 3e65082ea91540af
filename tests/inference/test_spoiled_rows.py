"""A text whose numbers are out of range ends with an error of its own; its neighbours notice nothing."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch

from palm_demo.errors import NotFiniteError, PalmDemoError
from palm_demo.inference.beam_search import beam_search
from palm_demo.inference.continuous_batch import ContinuousBatch
from palm_demo.inference.decoding import SequenceState, stream_ids
from palm_demo.inference.sampling import Sampler
from palm_demo.inference.scoring import bits_per_byte, token_probabilities
from palm_demo.inference.settings import BatchLimits, SamplingParams
from palm_demo.models.transformer import TransformerConfig

PROMPTS = [[5, 9, 7], [6], [6, 8, 4, 30, 31, 40, 41, 9], [33, 12], [11] * 12, [20, 21, 22]]
NEW = 12
SPOILT = "not finite"


def row(prompt, sampling: SamplingParams | None = None) -> SequenceState:
    return SequenceState(prompt, Sampler(sampling or SamplingParams(), []), NEW, eos_id=-1)


def spoiling(palm, number: float):
    """A visitor's own scope, filled with one number."""
    adapter = palm.new_adapter(2)
    for weight in adapter.parameters():
        weight.data.fill_(number)
    return adapter


@pytest.fixture
def batch(new_palm):
    palm = new_palm()
    limits = BatchLimits(rows=4, waiting=50)
    made = ContinuousBatch(palm.new_cache, palm.decode_step, 32, limits)
    made.palm = palm
    return made


def written(batch, prompt, scope=None) -> list[int]:
    with batch.join(row(prompt), partial(batch.palm.prefill, scopes=[scope])) as request:
        return list(request.ids())


@pytest.mark.parametrize("number", [1e6, 1e20, float("inf"), float("nan")], ids=str)
def test_a_spoiling_scope_changes_no_other_text_then_or_later(batch, number):
    alone = [written(batch, prompt) for prompt in PROMPTS]
    spoilt = spoiling(batch.palm, number)

    def visit(place: int):
        if place % 2:
            try:
                return written(batch, PROMPTS[place // 2 % len(PROMPTS)], spoilt)
            except PalmDemoError as error:
                return error
        return written(batch, PROMPTS[place // 2])

    with ThreadPoolExecutor(12) as visitors:
        together = list(visitors.map(visit, range(2 * len(PROMPTS))))
    assert together[::2] == alone
    assert [written(batch, prompt) for prompt in PROMPTS] == alone
    if number != 1e6:
        assert all(isinstance(end, NotFiniteError) and SPOILT in str(end) for end in together[1::2])
    batch.close()
    assert batch.free == 4


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan")], ids=str)
def test_a_row_whose_logits_are_spoilt_midway_ends_alone(batch, number):
    alone = written(batch, PROMPTS[1])
    steps, real = [], batch.decode_step

    def decode_step(ids, cache):
        logits = real(ids, cache)
        steps.append(len(ids))
        if len(ids) > 1:
            logits[1, 7] = number
        return logits

    batch.decode_step = decode_step
    prefill = partial(batch.palm.prefill, scopes=[None])
    with batch.join(row(PROMPTS[1]), prefill) as good, batch.join(row(PROMPTS[2]), prefill) as bad:
        with pytest.raises(NotFiniteError, match="take another scope"):
            list(bad.ids())
        assert list(good.ids()) == alone
    assert 2 in steps


@pytest.mark.parametrize(
    "sampling",
    [SamplingParams(), SamplingParams(temperature=1.0, top_p=0.5, top_k=3)],
    ids=["greedy", "drawn"],
)
@pytest.mark.parametrize("number", [float("inf"), float("nan")], ids=str)
def test_nothing_is_drawn_from_logits_that_are_no_numbers(sampling, number):
    logits = torch.randn(20)
    logits[4] = number
    with pytest.raises(NotFiniteError):
        Sampler(sampling, banned=[4])(logits, [1, 2])
    with pytest.raises(NotFiniteError):
        Sampler(sampling, banned=[])(torch.full((20,), number), [])


def test_texts_that_begin_together_end_with_the_error(new_palm):
    palm = new_palm()
    prefill = partial(palm.prefill, scopes=[None, spoiling(palm, torch.inf)])
    samplers = [Sampler(SamplingParams(), []) for _ in range(2)]
    with pytest.raises(NotFiniteError):
        list(stream_ids(prefill, palm.decode_step, [[5, 9], [7]], samplers, 4, -1, torch.device("cpu")))


def test_a_beam_of_no_numbers_ends_with_the_error(new_palm):
    palm = new_palm()
    prefill = partial(palm.prefill, scopes=[spoiling(palm, torch.nan)])
    with pytest.raises(NotFiniteError):
        beam_search(prefill, palm.decode_step, [5, 9], 3, 4, 2, [], torch.device("cpu"))


@pytest.mark.parametrize("judge", [bits_per_byte, token_probabilities])
def test_a_text_is_not_judged_by_what_is_no_number(judge, new_palm, tokenizer):
    palm = new_palm(
        size=TransformerConfig(dim=32, depth=2, heads=2, vocab=len(tokenizer), dim_head=16, ff_mult=2)
    )
    with pytest.raises(NotFiniteError, match=r"with this scope .* take another"):
        judge(palm, tokenizer, "Once upon a time", spoiling(palm, torch.inf), 64)
    judge(palm, tokenizer, "Once upon a time", None, 64)
