"""What a full device is answered with: fewer things at once, and for a single one a clear error."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from palm_demo.errors import DeviceMemoryError

T = TypeVar("T")
R = TypeVar("R")


def in_parts(compute: Callable[[Sequence[T]], R], things: Sequence[T], at_once: int) -> Iterator[R]:
    """What is computed of at most so many things at a time; of half as many as often as there is no memory
    for more. Raises DeviceMemoryError when there is none for one."""
    done = 0
    while some := things[done : done + at_once]:
        try:
            computed = compute(some)
        except torch.OutOfMemoryError as error:
            if len(some) == 1:
                raise DeviceMemoryError(
                    "the device has no memory left for even one picture; end what else runs there, or "
                    "choose a smaller profile"
                ) from error
            at_once = len(some) // 2
            continue
        yield computed
        done += len(some)
