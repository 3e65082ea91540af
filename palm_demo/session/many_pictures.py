"""Many pictures, as many at a time as the device has memory for."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from palm_demo.errors import DeviceMemoryError
from palm_demo.media import Picture
from palm_demo.turns import piece

R = TypeVar("R")

AT_ONCE = 64
"""Pictures that are read in one pass where there is the memory for them."""


def in_parts(compute: Callable[[Sequence[Picture]], R], images: Sequence[Picture]) -> Iterator[R]:
    """What is computed of at most AT_ONCE pictures at a time; of half as many as often as there is no
    memory for more. Raises DeviceMemoryError when there is none for one."""
    done, at_once = 0, AT_ONCE
    while len(some := images[done : done + at_once]):
        try:
            with piece():
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
