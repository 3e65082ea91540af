"""The continuous batch: who joins, who waits, who leaves, and that nobody notices the others."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import pytest
import torch
from torch.testing import assert_close

from palm_demo.concurrency import gone
from palm_demo.errors import BusyError, CapacityError, ClosingError, DeviceMemoryError
from palm_demo.inference.continuous_batch import ContinuousBatch
from palm_demo.inference.decoding import SequenceState
from palm_demo.inference.sampling import Sampler
from palm_demo.inference.settings import BatchLimits, SamplingParams
from tests.clients import as_client

EOS = 2
PATIENCE_SECONDS = 60
"""For what happens within a moment on an idle machine."""


def row(prompt: list[int], new: int = 8, seed: int | None = None, eos: int = EOS) -> SequenceState:
    """Greedy, or drawn with a seed."""
    sampling = (
        SamplingParams()
        if seed is None
        else SamplingParams(temperature=1.0, repetition_penalty=1.2, seed=seed)
    )
    return SequenceState(prompt, Sampler(sampling, []), new, eos)


class Counted:
    """A model that says the number after the last one, and whose steps wait to be let through."""

    def __init__(self, rows: int, waiting: int = 2):
        self.tokens: list[int] = []  # the cache: each row's last id
        self.steps = threading.Semaphore(0)
        self.read: list[int] = []  # the last id of each prompt
        limits = BatchLimits(rows, waiting)
        self.batch = ContinuousBatch(lambda rows, capacity: self, self.decode_step, 100, limits)

    def prefill(self, ids, lengths, capacity):
        self.read.append(int(ids[0, -1]))
        return self._logits(ids[:, -1]), ids[0, -1:].tolist()

    def decode_step(self, ids, cache):
        assert self.steps.acquire(timeout=PATIENCE_SECONDS)
        assert len(ids) == len(self.tokens)
        return self._logits(ids)

    def put(self, one: list[int]) -> None:
        self.tokens += one

    def drop(self, row: int) -> None:
        self.tokens[row] = self.tokens[-1]
        self.tokens.pop()

    def let(self, steps: int) -> None:
        self.steps.release(steps)

    def join(self, prompt: list[int], new: int = 50, cancelled: threading.Event | None = None):
        return self.batch.join(row(prompt, new), self.prefill, cancelled)

    @staticmethod
    def _logits(ids):
        return torch.nn.functional.one_hot(ids + 1, 100).float()


@pytest.fixture
def counted():
    """Makes counting models, and sees that they end with every row free."""
    made = []

    def make(rows: int, waiting: int = 2) -> Counted:
        made.append(Counted(rows, waiting))
        return made[-1]

    yield make
    for model in made:
        model.let(10_000)
        model.batch.close()
        assert model.batch.free == model.batch.limits.rows
        assert model.tokens == []


def scoped(palm):
    for name, rank in (("carroll", 2), ("doyle", 3)):
        for weight in palm.add_scope(name, rank).parameters():
            weight.data.normal_(std=0.3)
    return palm


OWN = "a visitor's own"


def scope_of(palm, index: int):
    """The scope of a request: a name, the base, or an adapter that has no name in the model."""
    scope = REQUESTS[index][1]
    if scope != OWN:
        return scope
    random = torch.Generator().manual_seed(index)
    own = palm.new_adapter(4, random)
    for weight in own.parameters():
        weight.data.normal_(std=0.1, generator=random)
    return own


REQUESTS = [
    ([5, 9, 7], "carroll", 7),
    ([6], None, 12),
    ([6, 8, 4, 30, 31, 40, 41, 9], "doyle", 3),
    ([33, 12], "carroll", 1),
    ([5, 9, 7], None, 9),
    ([11] * 12, "doyle", 11),
    ([20, 21, 22], None, 5),
    ([6], OWN, 12),
    ([11] * 12, OWN, 9),
]
"""Prompt, scope, new ids."""


def written(batch: ContinuousBatch, palm, index: int) -> list[int]:
    prompt, _, new = REQUESTS[index]
    prefill = partial(palm.prefill, scopes=[scope_of(palm, index)])
    with batch.join(row(prompt, new, seed=index), prefill) as request:
        return list(request.ids())


def palm_batch(palm, rows: int, extend=None) -> ContinuousBatch:
    limits = BatchLimits(rows, waiting=len(REQUESTS))
    return ContinuousBatch(palm.new_cache, extend or palm.decode_step, 32, limits)


@pytest.mark.parametrize("rows", [1, 3, 16])
def test_texts_written_together_are_those_written_alone(rows, new_palm):
    palm = scoped(new_palm())
    alone = [written(palm_batch(palm, 1), palm, index) for index in range(len(REQUESTS))]
    assert len({tuple(text) for text in alone}) == len(alone)
    batch = palm_batch(palm, rows)
    with ThreadPoolExecutor(len(REQUESTS)) as visitors:
        together = list(visitors.map(partial(written, batch, palm), range(len(REQUESTS))))
    assert together == alone
    batch.close()
    assert batch.free == rows


def watched(palm, joins: dict[int, int], fed: dict[int, list[int]]) -> dict[int, torch.Tensor]:
    """The logits of each request that joins before a step and is fed these ids, in one cache."""
    cache, live, logits, step = palm.new_cache(4, 32), [], {}, 0
    fed = {index: list(ids) for index, ids in fed.items()}
    while live or step <= max(joins.values()):
        for index in [index for index, at in joins.items() if at == step]:
            prompt, scope = REQUESTS[index][0], scope_of(palm, index)
            first, made = palm.prefill(torch.tensor([prompt]), [len(prompt)], len(prompt), scopes=[scope])
            cache.put(made)
            live.append(index)
            logits[index] = [first[0]]
        for place in reversed(range(len(live))):
            if not fed[live[place]]:
                cache.drop(place)
                live[place] = live[-1]
                live.pop()
        if live:
            ids = torch.tensor([fed[index].pop(0) for index in live])
            for index, of_row in zip(live, palm.decode_step(ids, cache), strict=True):
                logits[index].append(of_row)
        step += 1
    return {index: torch.stack(rows) for index, rows in logits.items()}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)], ids=str)
@torch.no_grad()
def test_logits_of_every_step_are_those_of_the_full_forward(dtype, tolerance, new_palm, new_ids):
    palm = scoped(new_palm())
    for weight in palm.parameters():
        weight.mul_(0.3)  # logits of the size that trained ones have
    palm = palm.to(dtype)
    joins = {0: 0, 1: 0, 2: 1, 3: 3, 7: 6, 5: 6, 8: 12}
    fed = {index: new_ids(REQUESTS[index][2]).tolist() for index in joins}
    for index, logits in watched(palm, joins, fed).items():
        prompt, scope = REQUESTS[index][0], scope_of(palm, index)
        full = palm(torch.tensor([[*prompt, *fed[index]]]), scopes=[scope])[0, len(prompt) - 1 :]
        assert_close(logits, full, atol=tolerance, rtol=0)


@torch.no_grad()
def test_rows_with_different_media_decode_as_each_alone(new_flamingo, new_ids):
    flamingo = new_flamingo()
    texts = {name: new_ids(1, 12) for name in ("two", "none", "video", "three")}
    marks = {"two": (1, 4), "none": (), "video": (2,), "three": (0, 1, 3)}
    frames = {"two": (1, 1), "none": (), "video": (3,), "three": (1, 2, 1)}
    cache, live, seen = flamingo.new_cache(3, 16), [], {}
    full, latents = {}, {}
    for name, ids in texts.items():
        ids[0, list(marks[name])] = flamingo.media_token_id
        shown = [torch.randn(count, 3, 8, 8) for count in frames[name]]
        latents[name] = flamingo.embed_media(shown, ids) if shown else None
        full[name] = flamingo.logits(ids, latents[name])[0]
        seen[name] = 6

    def join(name: str) -> None:
        logits, made = flamingo.prefill(texts[name][:, :6], [6], 6, latents[name])
        assert_close(logits[0], full[name][5], atol=1e-4, rtol=1e-4)
        cache.put(made)
        live.append(name)

    def step() -> None:
        ids = torch.stack([texts[name][0, seen[name]] for name in live])
        for name, logits in zip(live, flamingo.decode_step(ids, cache), strict=True):
            assert_close(logits, full[name][seen[name]], atol=1e-4, rtol=1e-4)
            seen[name] += 1

    def leave(name: str) -> None:
        place = live.index(name)
        cache.drop(place)
        live[place] = live[-1]
        live.pop()

    join("none")
    step()
    join("two")
    step()
    join("three")
    step()
    leave("none")
    step()
    join("video")
    step()
    leave("three")
    step()
    leave("two")
    step()
    assert seen == {"none": 9, "two": 11, "three": 9, "video": 9}


@torch.no_grad()
def test_rows_with_different_pictures_are_captioned_as_each_alone(new_mammut, new_ids):
    mammut, ids = new_mammut(), new_ids(3, 8)
    memory = mammut.encode_images(torch.randn(3, 3, 8, 8)).memory
    full = mammut.logits(ids, memory)
    cache = mammut.new_cache(3, 8)
    for place in range(3):
        _, made = mammut.prefill(ids[place : place + 1, :2], [2], 2, memory[place : place + 1])
        cache.put(made)
    assert_close(mammut.decode_step(ids[:, 2], cache), full[:, 2], atol=1e-4, rtol=1e-4)
    cache.drop(0)
    assert_close(mammut.decode_step(ids[[2, 1], 3], cache), full[[2, 1], 3], atol=1e-4, rtol=1e-4)


# rows and the line


def test_a_text_that_has_a_row_at_once_has_no_place_in_line(counted):
    model = counted(rows=1)
    with model.join([10], new=3) as request:
        assert list(model.batch.queue_positions(request)) == []
        model.let(2)
        assert list(request.ids()) == [11, 12, 13]


def test_who_waits_reads_each_place_until_there_is_a_row(counted):
    model = counted(rows=1)
    with model.join([10]) as first, model.join([30]) as second, model.join([50]) as third:
        places = {
            name: model.batch.queue_positions(who) for name, who in (("second", second), ("third", third))
        }
        assert next(first.ids()) == 11
        assert (next(places["second"]), next(places["third"])) == (1, 2)
        model.batch.leave(second)
        assert next(places["second"], None) is None
        assert next(places["third"]) == 1
        model.batch.leave(first)
        model.let(1)
        assert next(places["third"], None) is None
        assert next(third.ids()) == 51


def test_rows_are_given_in_the_order_of_coming(counted):
    model = counted(rows=1, waiting=3)
    model.let(1)
    with ExitStack() as stay:
        requests = [stay.enter_context(model.join([start], new=2)) for start in (10, 30, 50, 70)]
        assert next(requests[0].ids()) == 11
        model.let(3)
        assert [list(request.ids()) for request in requests] == [[12], [31, 32], [51, 52], [71, 72]]
    assert model.read == [10, 30, 50, 70]


def test_beyond_the_line_a_request_is_refused_with_the_numbers(counted):
    model = counted(rows=2, waiting=1)
    with model.join([10]), model.join([30]), model.join([50]) as waiting:
        with pytest.raises(BusyError, match=r"2 texts are being written and 1 more"), model.join([70]):
            pass
        model.batch.leave(waiting)
        with model.join([70]):
            pass


def test_who_stops_reading_frees_the_row_for_who_is_next(counted):
    model = counted(rows=1)
    with model.join([30]) as leaving:
        ids = leaving.ids()
        assert next(ids) == 31
        with model.join([50], new=2) as following:
            places = model.batch.queue_positions(following)
            assert next(places) == 1
            ids.close()
            model.batch.leave(leaving)
            model.let(2)
            assert next(places, None) is None
            assert list(following.ids()) == [51, 52]


def test_cancelling_ends_a_text_and_frees_its_row(counted):
    model, cancelled = counted(rows=1), threading.Event()
    with model.join([10], cancelled=cancelled) as request, model.join([50], new=1) as following:
        ids = request.ids()
        assert next(ids) == 11
        cancelled.set()
        model.let(1)
        assert list(ids) == []
        assert list(following.ids()) == [51]


def test_cancelling_ends_who_waits(counted):
    model, cancelled = counted(rows=1), threading.Event()
    with model.join([10]) as first, model.join([50], cancelled=cancelled) as waiting:
        places = model.batch.queue_positions(waiting)
        assert next(first.ids()) == 11
        assert next(places) == 1
        cancelled.set()
        model.let(1)
        assert list(places) == []
        assert list(waiting.ids()) == []


def test_who_left_frees_row_and_place(counted):
    model, left = counted(rows=1), threading.Event()
    with ExitStack() as stack:
        token = gone.set(left)
        first, waiting = (stack.enter_context(model.join([number])) for number in (10, 30))
        gone.reset(token)
        stays = stack.enter_context(model.join([50], new=2))
        assert next(first.ids()) == 11
        left.set()
        model.let(20)
        assert list(first.ids()) == list(waiting.ids()) == []
        assert list(stays.ids()) == [51, 52]


def test_what_is_cancelled_beforehand_says_nothing(counted):
    model, cancelled = counted(rows=1), threading.Event()
    cancelled.set()
    with model.join([10], cancelled=cancelled) as request:
        assert list(request.ids()) == []


def test_a_row_that_leaves_the_middle_does_not_disturb_the_others(counted):
    model = counted(rows=3)
    with model.join([10], new=4) as first, model.join([30], new=2) as middle, model.join([50], new=6) as last:
        model.let(20)
        assert list(first.ids()) == [11, 12, 13, 14]
        assert list(middle.ids()) == [31, 32]
        assert list(last.ids()) == [51, 52, 53, 54, 55, 56]


def test_a_text_that_would_outgrow_its_row_is_refused(counted):
    model = counted(rows=1)
    with pytest.raises(CapacityError, match=r"101 tokens .* holds 100"), model.join([10], new=100):
        pass


# errors


def test_an_error_in_one_prompt_reaches_that_request_alone(counted):
    model = counted(rows=2)

    def broken(ids, lengths, capacity):
        raise ValueError("a broken picture")

    with model.join([10], new=3) as good, model.batch.join(row([30]), broken) as bad:
        model.let(2)
        with pytest.raises(ValueError, match="a broken picture"):
            list(bad.ids())
        assert list(good.ids()) == [11, 12, 13]


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

    batch = palm_batch(palm, 2, decode_step)
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


def test_many_visitors_who_come_stay_and_go_at_will_leave_every_row_free(new_palm):
    palm = scoped(new_palm())
    alone = [written(palm_batch(palm, 1), palm, index) for index in range(len(REQUESTS))]
    batch = ContinuousBatch(palm.new_cache, palm.decode_step, 32, BatchLimits(rows=3, waiting=100))

    def visit(number: int) -> bool:
        index = number % len(REQUESTS)
        prompt, scope, new = REQUESTS[index][0], scope_of(palm, index), REQUESTS[index][2]
        wanted = number % 5  # of the ids; 0: all
        with batch.join(row(prompt, new, seed=index), partial(palm.prefill, scopes=[scope])) as request:
            read = []
            for token_id in request.ids():
                read.append(token_id)
                if len(read) == wanted:
                    break
        return read == (alone[index][:wanted] if wanted else alone[index])

    with ThreadPoolExecutor(12) as visitors:
        assert all(visitors.map(visit, range(60)))
    batch.close()
    assert batch.free == 3


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


def test_the_model_runs_without_gradients(new_palm):
    palm, seen = new_palm(), []

    def decode_step(ids, cache):
        seen.append(torch.is_grad_enabled())
        return palm.decode_step(ids, cache)

    with palm_batch(palm, 1, decode_step).join(row([5], new=3, eos=-1), palm.prefill) as request:
        assert len(list(request.ids())) == 3
    assert seen == [False, False]
    assert torch.is_grad_enabled()


def test_rows_go_to_who_has_the_fewest(counted):
    model = counted(rows=2, waiting=8)
    model.batch.limits = BatchLimits(rows=2, waiting=8, rows_of_one=1)
    with ExitStack() as stay:
        with as_client("greedy"):
            greedy = [stay.enter_context(model.join([10 * n], new=2)) for n in range(1, 5)]
        with as_client("modest"):
            modest = stay.enter_context(model.join([60], new=2))
        model.let(100)
        assert list(modest.ids()) == [61, 62]
        assert [list(request.ids()) for request in greedy] == [[n + 1, n + 2] for n in (10, 20, 30, 40)]
    assert model.read.index(60) < model.read.index(30)


def test_one_asker_leaves_rows_to_others(counted):
    model = counted(rows=4, waiting=8)
    model.batch.limits = BatchLimits(rows=4, waiting=8, rows_of_one=3)
    with ExitStack() as stay:
        with as_client("greedy"):
            requests = [stay.enter_context(model.join([10 * n])) for n in range(1, 6)]
        assert next(model.batch.queue_positions(requests[3])) == 1
        assert next(model.batch.queue_positions(requests[4])) == 2
        with as_client("modest"):
            newcomer = stay.enter_context(model.join([70]))
        assert list(model.batch.queue_positions(newcomer)) == []
        model.let(1)
        assert next(newcomer.ids()) == 71


def test_one_asker_may_have_no_more_than_a_share_of_the_line(counted):
    model = counted(rows=1, waiting=8)
    model.batch.limits = BatchLimits(rows=1, waiting=8, waiting_of_one=2)
    with ExitStack() as stay:
        with as_client("greedy"):
            for n in range(1, 4):
                stay.enter_context(model.join([10 * n]))
            with pytest.raises(BusyError, match="2 of your texts"), model.join([50]):
                pass
        with as_client("modest"):
            stay.enter_context(model.join([60]))


def test_a_caller_in_python_who_names_nobody_may_have_every_row(counted):
    model = counted(rows=3, waiting=8)
    model.batch.limits = BatchLimits(rows=3, waiting=8, rows_of_one=1, waiting_of_one=1)
    with ExitStack() as stay:
        requests = [stay.enter_context(model.join([10 * n])) for n in range(1, 4)]
        assert all(list(model.batch.queue_positions(request)) == [] for request in requests)
