"""Continuous batching: texts of many visitors decoded together. Rows join and leave between steps."""

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from palm_demo.errors import BusyError, CapacityError, ClosingError, DeviceMemoryError
from palm_demo.inference.decoding import DecodeStep, Prefill, SequenceState, run_in_turn, to_cpu
from palm_demo.inference.prefix_cache import BLOCK, PrefixCache
from palm_demo.inference.requests import InPieces, Reading, Request
from palm_demo.inference.settings import BatchLimits

READ_ALONE = 8 * BLOCK
"""Prompt tokens that are read in one step while no text is being written; otherwise it is BLOCK."""

StepBeside = Callable[[Tensor, Any, Sequence[tuple[Tensor, Any]]], Tensor]
"""One decode step with pieces of prompts beside it.

(b,) ids, their cache, and for each piece its (n,) ids and a cache of one row -> (b + pieces, vocab)
logits. See `palm_demo.models.transformer.BesideDecoder`.
"""


class Rows(Protocol):
    """The interface of caches with many rows, of which those in use stand in front."""

    def put(self, row: Any) -> None:
        """Appends the only row of a cache that a prefill made."""

    def drop(self, row: int) -> None:
        """Takes a row out of use. The last one moves into its place."""


class ContinuousBatch:
    """Up to `limits.rows` texts of one model, decoded one token per step together. The rest wait in a
    queue.

    A free row goes to the client with the fewest rows. A prompt is read in pieces beside the steps of
    running texts, or all at once between two steps; its cache is then put into the batch's cache. The
    first request starts a thread for the steps, which ends with the last one.
    """

    def __init__(
        self,
        new_cache: Callable[[int, int], Rows],
        decode_step: DecodeStep,
        capacity: int,
        limits: BatchLimits,
        step_beside: StepBeside | None = None,
    ):
        """The ids that all of these functions get are on the CPU.

        Args:
            new_cache: makes a cache from the numbers of rows and of tokens per row.
            decode_step: one step of the model.
            capacity: tokens of a row, prompt and answer together.
            limits: rows and places in the queue.
            step_beside: a step with pieces of prompts beside it; needed for prompts that are
                `InPieces`.
        """
        self.new_cache, self.decode_step, self.step_beside = new_cache, decode_step, step_beside
        self.prefixes = PrefixCache(limits.prefix_bytes)
        self.capacity, self.limits = capacity, limits
        self._changed = threading.Condition()  # guards what follows, and tells who waits
        self._queue: deque[Request] = deque()
        self._joining: list[Request] = []
        self._live: list[Request] = []  # in the order of the cache's rows
        self._cache: Rows | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    @contextmanager
    def join(
        self, row: SequenceState, prompt: Prefill | InPieces, cancelled: threading.Event | None = None
    ) -> Iterator[Request]:
        """Enters a request. Leaving the `with` frees its row or its position in the queue at once.

        Raises BusyError when the queue is full, ClosingError after `close`, and CapacityError when the
        text would outgrow a row.
        """
        request = Request(row, prompt, cancelled)
        self._enter(request)
        try:
            yield request
        finally:
            self.leave(request)

    def queue_positions(self, request: Request) -> Iterator[int]:
        """Yields a request's position in the queue (1: next) whenever it changes, until it gets a row."""
        place = self._next_position(request, None)
        while place:
            yield place
            place = self._next_position(request, place)

    def leave(self, request: Request) -> None:
        """Gives up a request's position in the queue, or its row before the next step."""
        with self._changed:
            request.leave()
            if request in self._queue:
                self._queue.remove(request)
                self._changed.notify_all()

    def close(self, grace_seconds: float = 0.0) -> None:
        """Accepts no more texts, lets the present ones finish for some seconds, then ends them.

        The readers of texts that are ended get ClosingError. Returns when every row is free.
        """
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: self._thread is None, grace_seconds)
            for request in (*self._queue, *self._joining, *self._live):
                request.fail(ClosingError("the page is being closed, so the text ends here; ask again later"))
            thread = self._thread
        if thread is not None:
            thread.join()

    @property
    def free(self) -> int:
        """The number of free rows."""
        with self._changed:
            return self.limits.rows - len(self._joining) - len(self._live)

    def _enter(self, request: Request) -> None:
        tokens = len(request.row.history) + request.row.remaining
        if tokens > self.capacity:
            raise CapacityError(
                f"prompt and answer have {tokens} tokens and a row of the batch holds {self.capacity}; "
                "ask for fewer new tokens or shorten the prompt"
            )
        with self._changed:
            if self._closed:
                raise ClosingError("the page is being closed and takes no more requests; try again later")
            waiting = self._waiting()
            most = self.limits.waiting_of_one
            own = sum(one.client == request.client for one in waiting)
            if most is not None and request.client is not None and own >= most:
                raise BusyError(
                    f"{own} of your texts are waiting, which is all that one visitor may have in line; wait "
                    "for one of them"
                )
            if len(waiting) >= self.limits.waiting:
                raise BusyError(
                    f"{self.limits.rows} texts are being written and {self.limits.waiting} more are waiting, "
                    "which is all that fit; try again in a moment"
                )
            self._queue.append(request)
            self._changed.notify_all()  # it may go before others, whose positions change then
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="continuous batch", daemon=True)
                self._thread.start()

    def _next_position(self, request: Request, shown: int | None) -> int:
        with self._changed:
            self._changed.wait_for(lambda: self._position(request) != shown)
            return self._position(request)

    def _position(self, request: Request) -> int:
        """A request's position in the queue from 1; 0 when it has a row or does not wait any more."""
        waiting = self._waiting()
        return waiting.index(request) + 1 if request in waiting else 0

    def _waiting(self) -> list[Request]:
        """The requests that have no row yet, the next one first.

        They are ordered by how many rows their client would have by then, then by arrival.
        """
        taken, free, waiting = self._taken(), self.free, []
        left = list(self._queue)
        while left:
            request = self._next_for_row(left, taken) or left[0]
            left.remove(request)
            if free > 0 and self._may_have_row(request, taken):
                free -= 1
            else:
                waiting.append(request)
            taken[request.client] += 1
        return waiting

    def _taken(self) -> Counter:
        """The number of rows of each client."""
        return Counter(request.client for request in (*self._joining, *self._live))

    def _may_have_row(self, request: Request, taken: Counter) -> bool:
        most = self.limits.rows_of_one
        return most is None or request.client is None or taken[request.client] < most

    def _next_for_row(self, line: Iterable[Request], taken: Counter) -> Request | None:
        """The request of the queue that gets the next row; None if none may have one."""
        allowed = [request for request in line if self._may_have_row(request, taken)]
        return min(allowed, key=lambda request: taken[request.client], default=None)

    def _work(self) -> None:
        """Runs the thread. An error that is not a single request's fails all requests in the batch."""
        while True:
            try:
                if not self._change_rows():
                    return
                pieces = self._next_pieces()
                if self._live or pieces:
                    self._step(pieces)
            except Exception as error:
                self._fail_all(error)

    def _change_rows(self) -> bool:
        """Frees the rows of finished texts and admits the next requests. Returns False when none is left."""
        with self._changed:
            before = len(self._queue), self.free
            for row in reversed(range(len(self._live))):
                if self._live[row].over:
                    self._free_row(row)
            for request in [request for request in self._queue if request.over]:
                self._queue.remove(request)
                request.end()
            while self.free and (request := self._next_for_row(self._queue, self._taken())):
                self._queue.remove(request)
                self._joining.append(request)
            if before != (len(self._queue), self.free):
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

    def _next_pieces(self) -> list[tuple[Request, int]]:
        """The pieces of prompts that the next step reads, as requests with numbers of tokens.

        Prompts that are not in pieces are read here.
        """
        room, pieces = BLOCK if self._live else READ_ALONE, []
        for request in tuple(self._joining):
            if request.over or not isinstance(request.prompt, InPieces):
                self._read_prompt(request)
            elif room and self._begin(request):
                left = len(request.row.history) - request.reading.done
                size = left if left <= room else room // BLOCK * BLOCK
                room -= size
                if size:
                    pieces.append((request, size))
        return pieces

    def _begin(self, request: Request) -> bool:
        """Makes the cache of a prompt in pieces if there is none. An error fails this request alone.

        Returns whether the prompt can be read further.
        """
        if request.reading is None:
            prompt, made = request.row.history, None
            try:
                beginning = request.beginning
                made = run_in_turn(request.prompt.begin, torch.tensor([prompt]), len(prompt))
                request.reading = Reading(made, beginning, self.prefixes.begin(beginning, made.tokens))
            except Exception as error:
                request.fail(_for_reader(error))
                self._let_in(request, None)
        return request.reading is not None

    def _read_prompt(self, request: Request) -> None:
        """Runs the prefill and samples the first id. An error fails this request alone."""
        prompt, made = request.row.history, None
        try:
            if not request.over:
                logits, made = run_in_turn(request.prompt, torch.tensor([prompt]), [len(prompt)], len(prompt))
                request.draw(logits[0])
        except Exception as error:
            request.fail(_for_reader(error))
        self._let_in(request, made)

    def _let_in(self, request: Request, made: Any) -> None:
        """Gives a request whose prompt has been read its row, unless its text is over."""
        joins, request.reading = not request.over, None
        if joins:
            if self._cache is None:
                self._cache = self.new_cache(self.limits.rows, self.capacity)
            self._cache.put(made)
        with self._changed:
            self._joining.remove(request)
            if joins:
                self._live.append(request)
            else:
                request.end()

    def _step(self, pieces: Sequence[tuple[Request, int]]) -> None:
        """Decodes one id for every row and reads pieces of prompts. If the device runs out of memory, one
        request fails: that of the last piece, or else of the last row."""
        ids = torch.tensor([request.row.last for request in self._live], dtype=torch.long)
        read = [
            (torch.tensor(request.row.history[request.reading.done :][:size]), request.reading.cache)
            for request, size in pieces
        ]
        try:
            if read:
                logits = to_cpu(run_in_turn(self.step_beside, ids, self._cache, read))
            else:
                logits = to_cpu(run_in_turn(self.decode_step, ids, self._cache))
        except torch.OutOfMemoryError as error:
            gives_way = pieces[-1][0] if pieces else self._live[-1]
            gives_way.fail(_for_reader(error))
            return
        for request, of_row in zip(self._live, logits, strict=False):
            request.draw(of_row)
        for (request, size), of_piece in zip(pieces, logits[len(ids) :], strict=True):
            request.reading.done += size
            if request.reading.done == len(request.row.history):
                made = request.reading.cache
                if request.read_from_same_weights:
                    self.prefixes.keep(request.reading.beginning, made.tokens)
                request.draw(of_piece)
                self._let_in(request, made)
            else:  # the next prompt's turn
                with self._changed:
                    self._joining.remove(request)
                    self._joining.append(request)

    def _fail_all(self, error: Exception) -> None:
        with self._changed:
            for request in (*self._joining, *self._live):
                request.fail(_for_reader(error))
            self._joining.clear()
            self._live.clear()
            self._cache = None  # nobody knows what state it is in
            self._changed.notify_all()


def _for_reader(error: Exception) -> Exception:
    """An error as the reader of a text gets it."""
    if not isinstance(error, torch.OutOfMemoryError):
        return error
    full = DeviceMemoryError(
        "the device has no memory left for this text beside the others that are being written; "
        "shorten it, or try again in a moment"
    )
    full.__cause__ = error
    return full
