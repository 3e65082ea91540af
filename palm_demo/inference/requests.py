"""A request for a text in the continuous batch: its prompt, the ids written so far, and when it is over."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from torch import Tensor

from palm_demo.concurrency import client, gone
from palm_demo.errors import ScopeError
from palm_demo.inference.decoding import Prefill, SequenceState
from palm_demo.inference.prefix_cache import Beginning


@dataclass(frozen=True)
class InPieces:
    """A prompt that is read in pieces, beside running texts.

    Attributes:
        begin: makes an empty cache of one row from (1, n) ids of the whole prompt and a capacity.
        beginning: tells what the prompt's keys and values depend on now. Weights may change between a
            request and its turn.
    """

    begin: Callable[[Tensor, int], Any]
    beginning: Callable[[], Beginning]


@dataclass
class Reading:
    """A prompt that is being read.

    Attributes:
        cache: of the prompt's row.
        beginning: what its keys and values depended on when the reading began.
        done: how many of the prompt's tokens have been read.
    """

    cache: Any
    beginning: Beginning
    done: int


class Request:
    """A text that waits for a row, is being written or is over. One thread makes its ids, another reads
    them."""

    reading: Reading | None = None

    def __init__(self, row: SequenceState, prompt: Prefill | InPieces, cancelled: threading.Event | None):
        """Takes the client from the context that it is made in.

        Args:
            row: the text.
            prompt: how its prompt is read, at once between two steps or in pieces.
            cancelled: once set, the text ends before its next id. It also ends once its client has
                left.
        """
        self.row, self.prompt = row, prompt
        self.client, self._gone = client.get(), gone.get() or threading.Event()
        self._cancelled = cancelled or threading.Event()
        self._left = False
        self._items: SimpleQueue[int | Exception | None] = SimpleQueue()

    def ids(self) -> Iterator[int]:
        """Yields ids as they are written. Raises the errors of the prompt and of the steps."""
        while (item := self._items.get()) is not None:
            if isinstance(item, Exception):
                raise item
            if self._unwanted:
                return
            yield item

    @property
    def over(self) -> bool:
        """Whether the row, or the position in the queue, can be given away.

        A `cancelled` that cannot be asked fails this request alone.
        """
        if self.row.ended or self._left:
            return True
        try:
            return self._unwanted
        except Exception as error:
            self.fail(error)
            return True

    @property
    def _unwanted(self) -> bool:
        return self._cancelled.is_set() or self._gone.is_set()

    @property
    def beginning(self) -> Beginning:
        """What the keys and values of a prompt in pieces depend on now, including whose request it is."""
        own = self.prompt.beginning()
        return Beginning((self.client, own.root), own.tokens)

    @property
    def read_from_same_weights(self) -> bool:
        """Whether the keys and values that were read depend on what they would depend on now."""
        try:
            return self.beginning == self.reading.beginning
        except ScopeError:  # the scope has been removed meanwhile
            return False

    def leave(self) -> None:
        self._left = True

    def draw(self, logits: Tensor) -> None:
        """Samples one more id from (vocab,) logits. An error in sampling fails this request alone."""
        try:
            token_id = self.row.draw(logits)
        except Exception as error:
            self.fail(error)
        else:
            if token_id is not None:
                self._items.put(token_id)

    def fail(self, error: Exception) -> None:
        """Ends the text with an error for its reader, unless it is complete already."""
        self.leave()
        self._items.put(None if self.row.ended else error)

    def end(self) -> None:
        """Tells the reader that nothing more comes."""
        self._items.put(None)
