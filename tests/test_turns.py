"""Turns: who comes next, and how many may wait."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest

import palm_demo
from palm_demo import concurrency
from palm_demo.concurrency import FairQueue, client, gone
from palm_demo.errors import BusyError, ClosingError, LeftError
from tests.clients import as_client
from tests.test_arguments import NEEDED

PATIENCE_SECONDS = 60


class Line:
    """Pieces of work that wait behind one that is let go by hand, and the order in which they then run."""

    def __init__(self, turns: FairQueue):
        self.turns, self.ran, self.go = turns, [], threading.Event()
        self.pool = ThreadPoolExecutor(32)
        self.held = self._in_line(self._hold, "first of all")

    def _hold(self) -> None:
        with as_client("first of all"), self.turns.computation() as computation, computation.turn():
            self.held_now.set()
            assert self.go.wait(PATIENCE_SECONDS)

    def _in_line(self, work, *_):
        self.held_now = threading.Event()
        future = self.pool.submit(work)
        assert self.held_now.wait(PATIENCE_SECONDS)
        return future

    def add(self, who: str, pieces: int = 1) -> None:
        """Returns once its first piece stands in line."""
        before = len(self.turns._queue)

        def work() -> None:
            with as_client(who), self.turns.computation() as computation:
                for number in range(pieces):
                    with computation.turn():
                        self.ran.append((who, number))

        self.futures = [*getattr(self, "futures", []), self.pool.submit(work)]
        with self.turns._changed:
            assert self.turns._changed.wait_for(lambda: len(self.turns._queue) > before, PATIENCE_SECONDS)

    def run(self) -> list:
        self.go.set()
        for future in [self.held, *self.futures]:
            future.result(PATIENCE_SECONDS)
        return self.ran


def test_a_newcomer_comes_before_the_next_piece_of_a_long_computation():
    line = Line(FairQueue())
    line.add("long", pieces=3)
    line.add("short")
    assert line.run()[:2] == [("long", 0), ("short", 0)]


def test_turns_go_round_by_asker_and_not_by_who_came_first():
    line = Line(FairQueue())
    for _ in range(3):
        line.add("greedy")
    line.add("modest")
    line.add("shy")
    assert [who for who, _ in line.run()] == ["greedy", "modest", "shy", "greedy", "greedy"]


def test_one_asker_may_have_no_more_than_a_share_of_the_line():
    turns = FairQueue(waiting=4, waiting_of_one=2)
    with as_client("greedy"), turns.computation(), turns.computation():
        with pytest.raises(BusyError, match="2 of your requests"), turns.computation():
            pass
        with (
            as_client("modest"),
            turns.computation(),
            turns.computation(),
            as_client("third"),
            pytest.raises(BusyError, match="4 requests"),
            turns.computation(),
        ):
            pass
    with as_client("greedy"), turns.computation(), turns.computation():
        pass


def test_who_is_not_named_has_no_share_to_use_up():
    turns = FairQueue(waiting_of_one=1)
    with turns.computation(), turns.computation():
        pass


def test_a_piece_that_fails_gives_its_turn_back():
    turns = FairQueue()
    with pytest.raises(ZeroDivisionError), turns.computation() as computation, computation.turn():
        raise ZeroDivisionError
    with turns.computation() as computation, computation.turn():
        pass


def test_who_left_gives_up_their_place_and_has_nothing_more_computed():
    line, left = Line(FairQueue()), threading.Event()

    def leaving() -> None:
        gone.set(left)
        with as_client("who leaves"), line.turns.computation() as computation, computation.turn():
            line.ran.append("who leaves")

    waits = line.pool.submit(copy_context().run, leaving)
    with line.turns._changed:
        assert line.turns._changed.wait_for(lambda: line.turns._queue, PATIENCE_SECONDS)
    left.set()
    with pytest.raises(LeftError):
        waits.result(PATIENCE_SECONDS)
    line.add("who stays")
    assert line.run() == [("who stays", 0)]


def test_who_is_interrupted_while_waiting_does_not_hold_up_the_others(monkeypatch):
    class CtrlC(threading.Event):
        def is_set(self) -> bool:
            raise KeyboardInterrupt

    monkeypatch.setattr(concurrency, "LOOK_SECONDS", 0.01)
    turns = FairQueue()
    with turns.computation() as computation, computation.turn(), ThreadPoolExecutor(1) as other:

        def wait() -> None:
            gone.set(CtrlC())
            with turns.computation() as waiting, waiting.turn():
                raise AssertionError("it had a turn")

        with pytest.raises(KeyboardInterrupt):
            other.submit(copy_context().run, wait).result(PATIENCE_SECONDS)
        assert not turns._queue


def test_the_asker_is_the_request_s_and_gone_after_it():
    with as_client("somebody"):
        assert client.get() == "somebody"
    assert client.get() is None


@pytest.mark.parametrize(
    "verb",
    sorted({*NEEDED} - {"generate", "stream", "answer", "stream_answer"} - {"load_adapter", "finetune"}),
)
def test_whatever_passes_a_model_or_decodes_outside_a_batch_takes_turns(verb, session, monkeypatch):
    """Texts are written in a batch; a scope's file is read, and one that is taught has a line of its own."""
    turns, taken = FairQueue(), []
    for part in (session, *session.parts.values()):
        monkeypatch.setattr(part, "turns", turns)
    monkeypatch.setattr(turns, "_take", taken.append)
    getattr(session, verb)(**NEEDED[verb])
    assert taken or verb in ("prompt_length", "caption")


@pytest.mark.slow
def test_a_long_scoring_lets_a_short_request_in_between(monkeypatch):
    """The search is asked for while the first piece of the long text is read, and done before its last."""
    session = palm_demo.load()
    read, asked = [], threading.Event()
    read_piece = session.palm.model.read
    turns = session.turns

    def watched(*arguments, **settings):
        if not read:
            asked.set()
            with turns._changed:
                assert turns._changed.wait_for(lambda: turns._queue, PATIENCE_SECONDS)
        read.append("window")
        return read_piece(*arguments, **settings)

    def search() -> None:
        assert asked.wait(PATIENCE_SECONDS)
        with as_client("short"):
            session.embed_texts(["a cat"])
        read.append("search")

    monkeypatch.setattr(session.palm.model, "read", watched)
    other = threading.Thread(target=search)
    other.start()
    with as_client("long"):
        session.bits_per_byte("It was a dark night, and the old man slept. " * 400)
    other.join()
    session.close()
    assert "search" in read[:3] and len(read) > 4


def test_closing_ends_who_waits_and_takes_nobody_more():
    turns = FairQueue()
    with turns.computation() as computation, computation.turn(), ThreadPoolExecutor(1) as other:

        def wait() -> None:
            with turns.computation() as waiting, waiting.turn():
                raise AssertionError("it had a turn")

        waiting = other.submit(wait)
        with turns._changed:
            assert turns._changed.wait_for(lambda: turns._queue, PATIENCE_SECONDS)
        turns.close()
        with pytest.raises(ClosingError, match="before this was done"):
            waiting.result(PATIENCE_SECONDS)
    with pytest.raises(ClosingError, match="no more requests"), turns.computation():
        pass
