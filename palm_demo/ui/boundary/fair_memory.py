"""Remembers what belongs to addresses, up to a number: at the limit, who has the most loses their oldest."""

from collections import Counter, OrderedDict
from collections.abc import Hashable
from itertools import islice
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class FairMemory(Generic[K, V]):
    """A dictionary whose entries each belong to an address, which cannot push out those of another.

    It has no lock of its own.

    Args:
        most: entries that are remembered.
        at_once: entries that are forgotten together, at most half of what their address has. Finding who
            has the most takes time, so what is filled quickly should forget many at once.
    """

    def __init__(self, most: int, at_once: int = 1):
        self.most, self.at_once = most, at_once
        self._kept: OrderedDict[K, tuple[str, V]] = OrderedDict()
        self._of_address: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, key: K) -> bool:
        return key in self._kept

    def get(self, key: K) -> V | None:
        """The value of an entry; None if it is not remembered."""
        kept = self._kept.get(key)
        return None if kept is None else kept[1]

    def remember(self, key: K, address: str, value: V) -> list[K]:
        """Adds an entry, or makes it the newest. Returns the keys of those that are forgotten for it."""
        self.forget(key)
        self._kept[key] = address, value
        self._of_address[address] += 1
        if len(self._kept) <= self.most:
            return []
        most = max(self._of_address, key=self._of_address.__getitem__)
        oldest = (key for key, (whose, _) in self._kept.items() if whose == most)
        forgotten = [*islice(oldest, min(self.at_once, (self._of_address[most] + 1) // 2))]
        for other in forgotten:
            self.forget(other)
        return forgotten

    def forget(self, key: K) -> None:
        """Removes an entry, if it is there."""
        if (kept := self._kept.pop(key, None)) is not None:
            self._of_address[kept[0]] -= 1
            if not self._of_address[kept[0]]:
                del self._of_address[kept[0]]
