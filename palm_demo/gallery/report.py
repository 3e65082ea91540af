"""What became of many pictures: one that fails is a line here, and never the end of the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from palm_demo.errors import (
    BusyError,
    ClosingError,
    ClusterError,
    DeviceMemoryError,
    GalleryError,
    GpuError,
    PalmDemoError,
)

T = TypeVar("T")

NOT_OF_ONE = (
    MemoryError,
    DeviceMemoryError,
    BusyError,
    ClosingError,
    ClusterError,
    GpuError,
    GalleryError,
)
"""What is no picture's fault, and would come with each of them: these end a run."""


@dataclass
class Report:
    """What became of picture files.

    added: ids. known: names of files that were there already. near: (name, id of the picture that it looks
    like). unreadable: (name, why) of what was left out. noted: (name, what) of what was done in another way.
    """

    added: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    near: list[tuple[str, str]] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    noted: list[tuple[str, str]] = field(default_factory=list)

    def extend(self, other: Report) -> None:
        """Takes in what became of more pictures."""
        self.added += other.added
        self.known += other.known
        self.near += other.near
        self.unreadable += other.unreadable
        self.noted += other.noted

    def leave_out(self, name: str, error: Exception) -> None:
        """Notes a file that fails. Raises the error where it is not the file's."""
        self.unreadable.append((shown(name), why(name, error)))


def why(name: str, error: Exception) -> str:
    """The reason and the remedy, whatever kind of error it is. Raises the error where it is no file's."""
    if isinstance(error, NOT_OF_ONE):
        raise error
    if isinstance(error, PalmDemoError):
        return shown(str(error))
    said = shown(f"{type(error).__name__}: {error}".partition("\n")[0])[:200]
    return f"{shown(name)} cannot be used ({said}); save it anew, or leave it out"


def shown(text: str) -> str:
    """A text that can be printed and stored: file names may hold bytes that are no UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def batched(items, size: int) -> Iterator[list]:
    """itertools.batched, which Python has from 3.12 on."""
    some = []
    for item in items:
        some.append(item)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some


def each(compute, items: Sequence[T]) -> list:
    """What is computed of items together, one result for each; an item that fails has its error in place of
    a result. compute: takes a list of items, gives as many results.

    The items are halved until those that fail are alone, so that the others stay together.
    """
    if not items:
        return []
    try:
        results = [*compute(items)]
        assert len(results) == len(items), f"{len(results)} results of {len(items)} items"
        return results
    except NOT_OF_ONE:
        raise
    except Exception as error:  # whatever kind it is, it is told
        if len(items) == 1:
            return [error]
        middle = len(items) // 2
        return each(compute, items[:middle]) + each(compute, items[middle:])
