"""The continuous batch: errors, full memory and closing end the texts that they are about, and no others."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from palm_demo.errors import ClosingError, DeviceMemoryError
from palm_demo.inference.continuous_batch import ContinuousBatch
from palm_demo.inference.requests import Request
from palm_demo.inference.settings import BatchLimits
from tests.inference.counted import PATIENCE_SECONDS, row


def test_an_error_in_one_prompt_reaches_that_request_alone(counted):
    model = counted(rows=2)

    def broken(ids, lengths, capacity):
        raise ValueError("a broken picture")

    with model.join([10], new=3) as good, model.batch.join(row([30]), broken) as bad:
        model.let(2)
        with pytest.raises(ValueError, match="a broken picture"):
            list(bad.ids())
        assert list(good.ids()) == [11, 12, 13]


def test_an_event_that_cannot_be_asked_reaches_that_request_alone(counted):
    model = counted(rows=2)
    with model.join([10], new=3) as good, model.batch.join(row([30]), model.prefill, cancelled=True) as bad:
        model.let(20)
        with pytest.raises(AttributeError, match="is_set"):
            list(bad.ids())
        assert list(good.ids()) == [11, 12, 13]
    with model.join([40], new=1) as later:
        model.let(2)
        assert list(later.ids()) == [41]


def test_an_error_in_sampling_reaches_that_request_alone(counted):
    model, broken = counted(rows=2), row([30])

    def sampler(logits, history):
        if len(history) > 1:
            raise ValueError("a broken sampler")
        return 31

    broken.sampler = sampler
    with model.join([10], new=3) as good, model.batch.join(broken, model.prefill) as bad:
        model.let(20)
        ids = bad.ids()
        assert next(ids) == 31
        with pytest.raises(ValueError, match="a broken sampler"):
            next(ids)
        assert list(good.ids()) == [11, 12, 13]


def test_an_error_in_a_step_reaches_its_rows_and_the_batch_goes_on(new_palm):
    palm = new_palm()
    steps = []

    def decode_step(ids, cache):
        steps.append(len(ids))
        if len(steps) == 2:
            raise RuntimeError("a broken step")
        return palm.decode_step(ids, cache)

    batch = ContinuousBatch(palm.new_cache, decode_step, 32, BatchLimits(rows=2, waiting=1))
    broken = batch.join(row([5, 9], eos=-1), palm.prefill)
    with pytest.raises(RuntimeError, match="a broken step"), broken as request:
        list(request.ids())
    with batch.join(row([5, 9], new=4, eos=-1), palm.prefill) as request:
        assert len(list(request.ids())) == 4
    batch.close()
    assert batch.free == 2


def test_when_memory_is_full_one_text_gives_way_and_the_others_go_on(counted):
    model = counted(rows=3)

    def small(ids, cache):
        if len(ids) > 2:
            raise torch.OutOfMemoryError("full")
        return model.decode_step(ids, cache)

    model.batch.decode_step = small
    joined = (model.join([last], new=3) for last in (10, 30, 50))
    with next(joined) as first, next(joined) as second, next(joined) as third:
        model.let(20)
        with pytest.raises(DeviceMemoryError, match=r"no memory left .* try again"):
            list(third.ids())
        assert list(first.ids()) == [11, 12, 13]
        assert list(second.ids()) == [31, 32, 33]


def test_a_prompt_that_does_not_fit_into_memory_is_refused_alone(counted):
    model = counted(rows=2)

    def full(ids, lengths, capacity):
        raise torch.OutOfMemoryError("full")

    with model.join([10], new=3) as good, model.batch.join(row([30]), full) as bad:
        model.let(2)
        with pytest.raises(DeviceMemoryError, match="shorten it"):
            list(bad.ids())
        assert list(good.ids()) == [11, 12, 13]


def test_without_memory_for_the_batch_its_texts_are_refused_with_a_remedy(new_palm):
    def full(rows, capacity):
        raise torch.OutOfMemoryError("full")

    palm = new_palm()
    batch = ContinuousBatch(full, palm.decode_step, 32, BatchLimits(rows=2, waiting=1))
    with (
        pytest.raises(DeviceMemoryError, match="shorten it"),
        batch.join(row([5, 9], eos=-1), palm.prefill) as request,
    ):
        list(request.ids())
    batch.close()


def test_a_complete_text_is_not_failed_by_what_comes_after(counted):
    request = Request(row([10], new=1), counted(rows=1).prefill, cancelled=None)
    request.draw(torch.eye(100)[11])
    request.fail(RuntimeError("a broken step"))
    assert list(request.ids()) == [11]


def test_closing_ends_all_texts(counted):
    model = counted(rows=1)
    with model.join([10]) as first, model.join([30]) as waiting:
        assert next(first.ids()) == 11
        model.let(1)
        with ThreadPoolExecutor(1) as closing:
            closed = closing.submit(model.batch.close)
            model.let(100)
            closed.result(PATIENCE_SECONDS)
        for request in (first, waiting):
            with pytest.raises(ClosingError, match="text ends here"):
                list(request.ids())
        assert model.batch.free == 1
    with pytest.raises(ClosingError, match="no more requests"), model.join([50]):
        pass


def test_closing_lets_texts_end_that_are_done_in_time(counted):
    model = counted(rows=1)
    with model.join([10], new=3) as request, ThreadPoolExecutor(1) as closing:
        assert next(request.ids()) == 11
        closed = closing.submit(model.batch.close, PATIENCE_SECONDS)
        model.let(2)
        closed.result(PATIENCE_SECONDS)
        assert list(request.ids()) == [12, 13]
