"""Which thread computes: on few cores it decides how long a step of decoding takes; and what many threads
ask for at once is made once."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import wraps
from typing import Any, Generic, ParamSpec, TypeVar

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


class made_once(Generic[T]):
    """A property that the first thread to ask for it computes, while the others who ask for it wait.
    Where that fails, the next one tries again.

    It is `functools.cached_property` with a lock, which that has not had since Python 3.12: one for each
    object and property, so that nobody waits for anything else. Its value lies in the object's `__dict__`
    under the property's name; deleting it there has it computed anew.
    """

    def __init__(self, compute: Callable[[Any], T]):
        self.compute, self.__doc__ = compute, compute.__doc__
        self._guard = threading.Lock()
        self._computing: dict[int, tuple[threading.RLock, list]] = {}
        """Object -> its lock and who asks, as long as anybody does: an object with a lock in it could be
        neither copied nor pickled."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> T:
        """Called until the value is in the object's `__dict__`, which Python asks first."""
        if instance is None:
            return self
        with self._guard:
            lock, asking = self._computing.setdefault(id(instance), (threading.RLock(), []))
            asking.append(None)
        try:
            with lock:
                kept = instance.__dict__
                if self.name not in kept:
                    kept[self.name] = self.compute(instance)
                return kept[self.name]
        finally:
            with self._guard:
                asking.pop()
                if not asking:
                    del self._computing[id(instance)]
