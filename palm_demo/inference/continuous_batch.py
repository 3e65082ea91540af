"""Continuous batching: texts of many visitors decoded together, whose rows join and leave between steps."""

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, Protocol

import torch
from torch import Tensor

from palm_demo.concurrency import client, gone
from palm_demo.errors import BusyError, CapacityError, ClosingError, DeviceMemoryError
from palm_demo.inference.decoding import DecodeStep, Prefill, SequenceState, run_in_turn, to_cpu
from palm_demo.inference.settings import BatchLimits


class Request:
    """A row that waits, is written or is over. One thread reads its ids, another makes them."""

    def __init__(self, row: SequenceState, prefill: Prefill, cancelled: threading.Event | None):
        """Made in the context of whoever asks. cancelled: once set, the text ends before its next id, as it
        does once whoever asks has left."""
        self.row, self.prefill = row, prefill
        self.client, self._gone = client.get(), gone.get() or threading.Event()
        self._cancelled = cancelled or threading.Event()
        self._left = False
        self._said: SimpleQueue[int | Exception | None] = SimpleQueue()

    def ids(self) -> Iterator[int]:
        """What is written, as it comes. Raises what went wrong in the prompt or in a step."""
        while (said := self._said.get()) is not None:
            if isinstance(said, Exception):
                raise said
            if self._unwanted:
                return
            yield said

    @property
    def over(self) -> bool:
        """Whether its row, or its place in line, can be given away."""
        return self.row.ended or self._left or self._unwanted

    @property
    def _unwanted(self) -> bool:
        return self._cancelled.is_set() or self._gone.is_set()

    def leave(self) -> None:
        self._left = True

    def draw(self, logits: Tensor) -> None:
        """(vocab,) logits -> one more id. What goes wrong in sampling is this request's alone."""
        try:
            token_id = self.row.draw(logits)
        except Exception as error:
            self.fail(error)
        else:
            if token_id is not None:
                self._said.put(token_id)

    def fail(self, error: Exception) -> None:
        self.leave()
        self._said.put(error)

    def end(self) -> None:
        """Tells the reader that nothing more comes."""
        self._said.put(None)


class Rows(Protocol):
    """A cache of many rows, of which those in use stand in front."""

    def put(self, row: Any) -> None:
        """Takes in the only row of a cache that a prefill made, behind the others."""

    def drop(self, row: int) -> None:
        """Takes a row out of use; the last one moves into its place."""


class ContinuousBatch:
    """Up to `limits.rows` texts of one model, each step one id further; the rest wait in line.

    Rows go to who has the fewest. A prompt is read alone, between two steps; what it keeps is then put into
    the batch's cache.
    The first request starts a thread for the steps, which ends with the last one.
    """

    def __init__(
        self,
        new_cache: Callable[[int, int], Rows],
        decode_step: DecodeStep,
        capacity: int,
        limits: BatchLimits,
    ):
        """new_cache: from rows and capacity. capacity: tokens of a row, prompt and answer. The ids
        that a prefill and `extend` get are on the CPU."""
        self.new_cache, self.decode_step = new_cache, decode_step
        self.capacity, self.limits = capacity, limits
        self._changed = threading.Condition()  # guards what follows, and tells who waits
        self._line: deque[Request] = deque()
        self._joining: list[Request] = []
        self._live: list[Request] = []  # in the order of the cache's rows
        self._cache: Rows | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    @contextmanager
    def join(
        self, row: SequenceState, prefill: Prefill, cancelled: threading.Event | None = None
    ) -> Iterator[Request]:
        """A stay in the batch; leaving the `with` frees the row, or the place in line, at once.

        Raises BusyError when the line is full, ClosingError after `close`, CapacityError when the text would
        outgrow a row.
        """
        ticket = Request(row, prefill, cancelled)
        self._enter(ticket)
        try:
            yield ticket
        finally:
            self.leave(ticket)

    def places(self, ticket: Request) -> Iterator[int]:
        """Its place in line (1: next), whenever that changes, until there is a row for it."""
        place = self._next_place(ticket, None)
        while place:
            yield place
            place = self._next_place(ticket, place)

    def leave(self, ticket: Request) -> None:
        """Gives up its place in line, or its row before the next step."""
        with self._changed:
            ticket.leave()
            if ticket in self._line:
                self._line.remove(ticket)
                self._changed.notify_all()

    def close(self, grace_seconds: float = 0.0) -> None:
        """Takes no more texts, gives those there are so many seconds to end, then ends them: their readers
        get ClosingError. Returns when every row is free."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: self._thread is None, grace_seconds)
            for ticket in (*self._line, *self._joining, *self._live):
                ticket.fail(ClosingError("the page is being closed, so the text ends here; ask again later"))
            thread = self._thread
        if thread is not None:
            thread.join()

    @property
    def free(self) -> int:
        """Rows that nobody has."""
        with self._changed:
            return self.limits.rows - len(self._joining) - len(self._live)

    def _enter(self, ticket: Request) -> None:
        tokens = len(ticket.row.history) + ticket.row.remaining
        if tokens > self.capacity:
            raise CapacityError(
                f"prompt and answer have {tokens} tokens and a row of the batch holds {self.capacity}; "
                "ask for fewer new tokens or shorten the prompt"
            )
        with self._changed:
            if self._closed:
                raise ClosingError("the page is being closed and takes no more requests; try again later")
            waiting = self._in_turn()
            of_one = self.limits.waiting_of_one
            own = sum(one.client == ticket.client for one in waiting)
            if of_one is not None and ticket.client is not None and own >= of_one:
                raise BusyError(
                    f"{own} of your texts are waiting, which is all that one visitor may have in line; wait "
                    "for one of them"
                )
            if len(waiting) >= self.limits.waiting:
                raise BusyError(
                    f"{self.limits.rows} texts are being written and {self.limits.waiting} more are waiting, "
                    "which is all that fit; try again in a moment"
                )
            self._line.append(ticket)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="continuous batch", daemon=True)
                self._thread.start()

    def _next_place(self, ticket: Request, shown: int | None) -> int:
        with self._changed:
            self._changed.wait_for(lambda: self._place(ticket) != shown)
            return self._place(ticket)

    def _place(self, ticket: Request) -> int:
        """From 1; 0 when there is a row for it, or it no longer waits."""
        waiting = self._in_turn()
        return waiting.index(ticket) + 1 if ticket in waiting else 0

    def _in_turn(self) -> list[Request]:
        """Those in line for whom there is no row yet, whose turn comes first in front: by how many rows
        each client would have by then, then by who came first."""
        taken, free, waiting = self._taken(), self.free, []
        left = list(self._line)
        while left:
            ticket = self._chosen(left, taken) or left[0]
            left.remove(ticket)
            if free > 0 and self._may_have_row(ticket, taken):
                free -= 1
            else:
                waiting.append(ticket)
            taken[ticket.client] += 1
        return waiting

    def _taken(self) -> Counter:
        """Rows of each client."""
        return Counter(ticket.client for ticket in (*self._joining, *self._live))

    def _may_have_row(self, ticket: Request, taken: Counter) -> bool:
        most = self.limits.rows_of_one
        return most is None or ticket.client is None or taken[ticket.client] < most

    def _chosen(self, line: Iterable[Request], taken: Counter) -> Request | None:
        """Who of the line gets the next row, if there is one."""
        allowed = [ticket for ticket in line if self._may_have_row(ticket, taken)]
        return min(allowed, key=lambda ticket: taken[ticket.client], default=None)

    def _work(self) -> None:
        """The thread. An error that is no single request's ends all that were in the batch with it."""
        while True:
            try:
                if not self._change_rows():
                    return
                for ticket in tuple(self._joining):
                    self._read_prompt(ticket)
                if self._live:
                    self._step()
            except Exception as error:
                self._fail_all(error)

    def _change_rows(self) -> bool:
        """Frees the rows of texts that are over and calls in who is next; False when all is done."""
        with self._changed:
            before = len(self._line), self.free
            for row in reversed(range(len(self._live))):
                if self._live[row].over:
                    self._free_row(row)
            for ticket in [ticket for ticket in self._line if ticket.over]:
                self._line.remove(ticket)
                ticket.end()
            while self.free and (ticket := self._chosen(self._line, self._taken())):
                self._line.remove(ticket)
                self._joining.append(ticket)
            if before != (len(self._line), self.free):
                self._changed.notify_all()
            if self._joining or self._live:
                return True
            self._thread = None
            self._changed.notify_all()
            return False

    def _free_row(self, row: int) -> None:
        self._cache.drop(row)
        self._live[row].end()
        self._live[row] = self._live[-1]
        self._live.pop()

    def _read_prompt(self, ticket: Request) -> None:
        """Prefill and the first id. What goes wrong here is this request's alone."""
        prompt, made = ticket.row.history, None
        try:
            if not ticket.over:
                logits, made = run_in_turn(ticket.prefill, torch.tensor([prompt]), [len(prompt)], len(prompt))
                ticket.draw(logits[0])
        except torch.OutOfMemoryError as error:
            ticket.fail(_memory_is_full(error))
        except Exception as error:
            ticket.fail(error)
        joins = not ticket.over
        if joins:
            if self._cache is None:
                self._cache = self.new_cache(self.limits.rows, self.capacity)
            self._cache.put(made)
        with self._changed:
            self._joining.remove(ticket)
            if joins:
                self._live.append(ticket)
            else:
                ticket.end()

    def _step(self) -> None:
        """One id more for every row; where the device has no memory for that, one gives way."""
        ids = torch.tensor([ticket.row.last for ticket in self._live])
        try:
            logits = to_cpu(run_in_turn(self.decode_step, ids, self._cache))
        except torch.OutOfMemoryError as error:
            return self._live[-1].fail(_memory_is_full(error))
        for ticket, of_row in zip(self._live, logits, strict=True):
            ticket.draw(of_row)

    def _fail_all(self, error: Exception) -> None:
        with self._changed:
            for ticket in (*self._joining, *self._live):
                ticket.fail(error)
            self._joining.clear()
            self._live.clear()
            self._cache = None  # nobody knows what state it is in
            self._changed.notify_all()


def _memory_is_full(error: torch.OutOfMemoryError) -> DeviceMemoryError:
    full = DeviceMemoryError(
        "the device has no memory left for this text beside the others that are being written; "
        "shorten it, or try again in a moment"
    )
    full.__cause__ = error
    return full
