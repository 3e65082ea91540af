"""The continuous batch: who gets a row, who waits, who leaves, and how many are one asker's."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from palm_demo.concurrency import gone
from palm_demo.errors import BusyError, CapacityError
from palm_demo.inference.settings import BatchLimits
from tests.clients import as_client
from tests.inference.counted import PATIENCE_SECONDS


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


def test_who_waits_is_told_when_a_newcomer_goes_before(counted):
    model = counted(rows=1)
    with ExitStack() as stay, ThreadPoolExecutor(1) as reader:
        with as_client("first"):
            assert next(stay.enter_context(model.join([10])).ids()) == 11
            places = model.batch.queue_positions(stay.enter_context(model.join([30])))
        assert next(places) == 1
        changed = reader.submit(next, places)
        with as_client("newcomer"):
            stay.enter_context(model.join([50]))
        assert changed.result(PATIENCE_SECONDS) == 2


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
