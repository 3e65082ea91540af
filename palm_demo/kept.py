"""A cache of what was made from visitors' texts and pictures: what is not asked for again soon is removed."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")

KEPT_SECONDS = 600.0
"""Seconds after which unused values are removed, because they were made from what somebody sent."""


@dataclass
class _Entry(Generic[T]):
    value: T
    size_bytes: int
    asked_for: float


class Kept(Generic[T]):
    """A least-recently-used cache of at most `max_bytes`.

    Values that were not used for KEPT_SECONDS are removed at the next access.
    """

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic):
        self.max_bytes, self.clock = max_bytes, clock
        self.size_bytes = 0
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, _Entry[T]] = OrderedDict()

    def get(self, key: Hashable) -> T | None:
        with self._lock:
            self._forget()
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            self._entries[key].asked_for = self.clock()
            return self._entries[key].value

    def put(self, key: Hashable, value: T, size_bytes: int) -> None:
        """Stores a value unless it is larger than the whole cache."""
        with self._lock:
            if key in self._entries or size_bytes > self.max_bytes:
                return
            self._entries[key] = _Entry(value, size_bytes, self.clock())
            self.size_bytes += size_bytes
            self._forget()

    def _forget(self) -> None:
        """Removes what is too much or too old. The entry that was used the longest ago is the first."""
        oldest = self.clock() - KEPT_SECONDS
        while self._entries:
            first = next(iter(self._entries.values()))
            if self.size_bytes <= self.max_bytes and first.asked_for >= oldest:
                return
            self._entries.popitem(last=False)
            self.size_bytes -= first.size_bytes

    def forget(self, is_gone: Callable[[Any], bool]) -> None:
        """Removes the values of all keys for which `is_gone` is true."""
        with self._lock:
            for key in [key for key in self._entries if is_gone(key)]:
                self.size_bytes -= self._entries.pop(key).size_bytes

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
            self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)
