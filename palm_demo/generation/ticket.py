"""One request in a continuous batch: what its reader sees of it, and what the batch does to it."""

import threading
from collections.abc import Iterator
from queue import SimpleQueue

from torch import Tensor

from palm_demo.generation.stream import Prefill, Row
from palm_demo.turns import asker


class Ticket:
    """A row that waits, is written or is over. One thread reads its ids, another makes them."""

    def __init__(self, row: Row, prefill: Prefill, cancelled: threading.Event | None):
        """Made in the context of whoever asks. cancelled: once set, the text ends before its next id."""
        self.row, self.prefill = row, prefill
        self.asker = asker.get()
        self._cancelled = cancelled or threading.Event()
        self._left = False
        self._said: SimpleQueue[int | Exception | None] = SimpleQueue()

    def ids(self) -> Iterator[int]:
        """What is written, as it comes. Raises what went wrong in the prompt or in a step."""
        while (said := self._said.get()) is not None:
            if isinstance(said, Exception):
                raise said
            if self._cancelled.is_set():
                return
            yield said

    @property
    def over(self) -> bool:
        """Whether its row, or its place in line, can be given away."""
        return self.row.ended or self._left or self._cancelled.is_set()

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
