"""Gives memory that is free in the heaps of the C library back to the system.

glibc keeps a heap for each of many threads. After some thousand requests a tenth of a page's resident memory
are holes in them, which only `malloc_trim` gives back.
"""

import ctypes
from collections.abc import Callable
from functools import cache


def release_free_memory() -> bool:
    """Gives free memory back to the system. Returns whether there was any; False without glibc.

    It takes some hundredths of a second for each gigabyte, in which other threads may wait for memory.
    """
    trim = _malloc_trim()
    return trim is not None and bool(trim(0))


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, TypeError, AttributeError):  # another C library, or another system
        return None
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    return trim
