"""Which thread computes: on few cores it decides how long a step of decoding takes."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def apart(function: Callable[P, T]) -> Callable[P, T]:
    """The function, run in a thread of its own at each call, which ends with it, in the caller's context.

    GNU OpenMP gives every thread that computes helpers of its own and keeps them as long as it lives.
    Once there are more helpers than cores, none of them waits for its next share of work awake, and
    waking them takes longer than many products of a small model (libgomp's throttled spin count). So
    nothing but the thread that decodes may keep any.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with ThreadPoolExecutor(1, thread_name_prefix=function.__name__) as one:
            return one.submit(copy_context().run, function, *args, **kwargs).result()

    return call
