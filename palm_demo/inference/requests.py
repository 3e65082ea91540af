"""A request for a text in the continuous batch: what it reads, what it is told, and when it is over."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from torch import Tensor

from palm_demo.concurrency import client, gone
from palm_demo.inference.decoding import Prefill, SequenceState
from palm_demo.inference.prefix_cache import Beginning


@dataclass(frozen=True)
class InPieces:
    """How a prompt is read in pieces, beside running texts.

    Attributes:
        begin: (1, n) ids of the whole prompt, capacity -> an empty cache of one row.
        beginning: what its keys and values depend on.
    """

    begin: Callable[[Tensor, int], Any]
    beginning: Beginning


@dataclass
class Reading:
    """A prompt that is being read: the cache of its row, and how many of its tokens that has."""

    cache: Any
    done: int


class Request:
    """A row that waits, is written or is over. One thread reads its ids, another makes them."""

    reading: Reading | None = None

    def __init__(self, row: SequenceState, prompt: Prefill | InPieces, cancelled: threading.Event | None):
        """Made in the context of whoever asks.

        Args:
            row: the text.
            prompt: how its prompt is read: at once between two steps, or in pieces.
            cancelled: once set, the text ends before its next id, as it does once whoever asks has left.
        """
        self.row, self.prompt = row, prompt
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

    @property
    def beginning(self) -> Beginning:
        """Of a prompt in pieces: whose it is belongs to its root."""
        own = self.prompt.beginning
        return Beginning((self.client, own.root), own.tokens)

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
