"""Continuous batching: texts of many visitors decoded together, whose rows join and leave between steps."""

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
"""Tokens of prompts that are read in one step where no text is running that waits for it; otherwise BLOCK."""

StepBeside = Callable[[Tensor, Any, Sequence[tuple[Tensor, Any]]], Tensor]
"""(b,) ids, their cache, and pieces of prompts, (n,) ids and a cache of one row each -> (b + pieces, vocab)
logits; see `palm_demo.models.transformer.BesideDecoder`."""


class Rows(Protocol):
    """A cache of many rows, of which those in use stand in front."""

    def put(self, row: Any) -> None:
        """Takes in the only row of a cache that a prefill made, behind the others."""

    def drop(self, row: int) -> None:
        """Takes a row out of use; the last one moves into its place."""


class ContinuousBatch:
    """Up to `limits.rows` texts of one model, each step one id further; the rest wait in line.

    Rows go to who has the fewest. A prompt is read in pieces beside the steps of running texts, or alone
    between two of them; what it keeps is then put into the batch's cache. The first request starts a thread
    for the steps, which ends with the last one.
    """

    def __init__(
        self,
        new_cache: Callable[[int, int], Rows],
        decode_step: DecodeStep,
        capacity: int,
        limits: BatchLimits,
        step_beside: StepBeside | None = None,
    ):
        """Ids that any of these functions gets are on the CPU.

        Args:
            new_cache: from rows and capacity.
            decode_step: one id more for each row.
            capacity: tokens of a row, prompt and answer.
            limits: how many rows there are, and how many wait.
            step_beside: the same with pieces of prompts beside it; wanted where a prompt is `InPieces`.
        """
        self.new_cache, self.decode_step, self.step_beside = new_cache, decode_step, step_beside
        self.prefixes = PrefixCache(limits.prefix_bytes)
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
        self, row: SequenceState, prompt: Prefill | InPieces, cancelled: threading.Event | None = None
    ) -> Iterator[Request]:
        """A stay in the batch; leaving the `with` frees the row, or the place in line, at once.

        Raises BusyError when the line is full, ClosingError after `close`, CapacityError when the text would
        outgrow a row.
        """
        ticket = Request(row, prompt, cancelled)
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
                pieces = self._next_pieces()
                if self._live or pieces:
                    self._step(pieces)
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

    def _next_pieces(self) -> list[tuple[Request, int]]:
        """Of prompts in pieces, whose next tokens are read in this step, and how many. Others are read."""
        room, pieces = BLOCK if self._live else READ_ALONE, []
        for ticket in tuple(self._joining):
            if ticket.over or not isinstance(ticket.prompt, InPieces):
                self._read_prompt(ticket)
            elif room and self._begin(ticket):
                left = len(ticket.row.history) - ticket.reading.done
                size = left if left <= room else room // BLOCK * BLOCK
                room -= size
                if size:
                    pieces.append((ticket, size))
        return pieces

    def _begin(self, ticket: Request) -> bool:
        """Whether its prompt can be read on. What goes wrong here is this request's alone."""
        if ticket.reading is None:
            prompt, made = ticket.row.history, None
            try:
                made = run_in_turn(ticket.prompt.begin, torch.tensor([prompt]), len(prompt))
                ticket.reading = Reading(made, self.prefixes.begin(ticket.beginning, made.tokens))
            except Exception as error:
                ticket.fail(_told(error))
                self._let_in(ticket, None)
        return ticket.reading is not None

    def _read_prompt(self, ticket: Request) -> None:
        """Prefill and the first id. What goes wrong here is this request's alone."""
        prompt, made = ticket.row.history, None
        try:
            if not ticket.over:
                logits, made = run_in_turn(ticket.prompt, torch.tensor([prompt]), [len(prompt)], len(prompt))
                ticket.draw(logits[0])
        except Exception as error:
            ticket.fail(_told(error))
        self._let_in(ticket, made)

    def _let_in(self, ticket: Request, made: Any) -> None:
        """Gives who has read the prompt its row, unless its text is over."""
        joins, ticket.reading = not ticket.over, None
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

    def _step(self, pieces: Sequence[tuple[Request, int]]) -> None:
        """One id more for every row, and pieces of prompts beside; where the device has no memory for that,
        one gives way."""
        ids = torch.tensor([ticket.row.last for ticket in self._live], dtype=torch.long)
        read = [
            (torch.tensor(ticket.row.history[ticket.reading.done :][:size]), ticket.reading.cache)
            for ticket, size in pieces
        ]
        try:
            if read:
                logits = to_cpu(run_in_turn(self.step_beside, ids, self._cache, read))
            else:
                logits = to_cpu(run_in_turn(self.decode_step, ids, self._cache))
        except torch.OutOfMemoryError as error:
            gives_way = pieces[-1][0] if pieces else self._live[-1]
            gives_way.fail(_told(error))
            return
        for ticket, of_row in zip(self._live, logits, strict=False):
            ticket.draw(of_row)
        for (ticket, size), of_piece in zip(pieces, logits[len(ids) :], strict=True):
            ticket.reading.done += size
            if ticket.reading.done == len(ticket.row.history):
                made = ticket.reading.cache
                self.prefixes.keep(ticket.beginning, made.tokens)
                ticket.draw(of_piece)
                self._let_in(ticket, made)
            else:  # the next prompt's turn
                with self._changed:
                    self._joining.remove(ticket)
                    self._joining.append(ticket)

    def _fail_all(self, error: Exception) -> None:
        with self._changed:
            for ticket in (*self._joining, *self._live):
                ticket.fail(error)
            self._joining.clear()
            self._live.clear()
            self._cache = None  # nobody knows what state it is in
            self._changed.notify_all()


def _told(error: Exception) -> Exception:
    """What whoever asks gets of an error."""
    if not isinstance(error, torch.OutOfMemoryError):
        return error
    full = DeviceMemoryError(
        "the device has no memory left for this text beside the others that are being written; "
        "shorten it, or try again in a moment"
    )
    full.__cause__ = error
    return full
