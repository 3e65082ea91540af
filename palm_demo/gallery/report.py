"""The report of a run over many pictures: one that fails is a line in it, and never ends the run."""

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
"""Errors that are no single picture's fault and would recur with each: these end a run."""


@dataclass
class Report:
    """What happened to picture files.

    Attributes:
        added: ids of new pictures.
        known: names of files that were there already.
        near: (name, id of the picture that it looks like).
        unreadable: (name, reason) of what was left out.
        noted: (name, note) of what was stored in another way.
    """

    added: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    near: list[tuple[str, str]] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    noted: list[tuple[str, str]] = field(default_factory=list)

    def extend(self, other: Report) -> None:
        """Appends another report."""
        self.added += other.added
        self.known += other.known
        self.near += other.near
        self.unreadable += other.unreadable
        self.noted += other.noted

    def leave_out(self, name: str, error: Exception) -> None:
        """Notes a file that failed. Raises the error again if the file is not at fault."""
        self.unreadable.append((shown(name), why(name, error)))


def why(name: str, error: Exception) -> str:
    """The reason and the remedy for any kind of error. Raises the error again if no file is at fault."""
    if isinstance(error, NOT_OF_ONE):
        raise error
    if isinstance(error, PalmDemoError):
        return shown(str(error))
    reason = shown(f"{type(error).__name__}: {error}".partition("\n")[0])[:200]
    return f"{shown(name)} cannot be used ({reason}); save it anew, or leave it out"


def shown(text: str) -> str:
    """A text that can be printed and stored. File names may hold bytes that are not UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def batched(items, size: int) -> Iterator[list]:
    """Yields lists of `size` items, like itertools.batched from Python 3.12 on."""
    some = []
    for item in items:
        some.append(item)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some


def each(compute, items: Sequence[T]) -> list:
    """Computes results for items together. An item that fails gets its error as its result.

    `compute` takes a list of items and returns as many results. If it fails, the items are halved
    until the failing ones are alone, so that the others stay together.
    """
    if not items:
        return []
    try:
        results = [*compute(items)]
        assert len(results) == len(items), f"{len(results)} results of {len(items)} items"
        return results
    except NOT_OF_ONE:
        raise
    except Exception as error:  # whatever kind it is, it is reported
        if len(items) == 1:
            return [error]
        middle = len(items) // 2
        return each(compute, items[:middle]) + each(compute, items[middle:])
