"""Threads and turns: how requests of many visitors share a few cores.

A request is a computation, and each pass of a model in it a piece that waits for its turn. So long
requests let short ones in between, and one visitor's requests do not block all others.

The client is named in a context variable that a server sets for each request, for example to an
address. Library callers name none; each of their requests then counts as another client's.
"""

import threading
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import wraps
from itertools import count
from typing import Any, Generic, ParamSpec, TypeVar

from palm_demo.errors import BusyError, ClosingError, LeftError

P = ParamSpec("P")
T = TypeVar("T")


def run_in_thread(function: Callable[P, T]) -> Callable[P, T]:
    """Runs a function in a new thread at each call, in the caller's context.

    GNU OpenMP gives every thread that computes helper threads of its own, and keeps them as long as
    that thread lives. Once there are more helpers than cores, they sleep between pieces of work, and
    waking them takes longer than many products of a small model (libgomp's throttled spin count). So
    no thread other than the decoding one may keep helpers.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with ThreadPoolExecutor(1, thread_name_prefix=function.__name__) as one:
            return one.submit(copy_context().run, function, *args, **kwargs).result()

    return call


class locked_cached_property(Generic[T]):
    """A cached property that one thread computes while others who ask for it wait.

    It is `functools.cached_property` with the lock that Python 3.12 has removed, but one for each
    object and property, so that nobody waits for anything else. If the computation fails, the next
    thread tries again. The value is in the object's `__dict__` under the property's name; deleting it
    there makes it computed again.
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
        """Computes the value. Python calls this only until the value is in the object's `__dict__`."""
        if instance is None:
            return self
        with self._guard:
            lock, asking = self._computing.setdefault(id(instance), (threading.RLock(), []))
            asking.append(None)
        try:
            with lock:
                values = instance.__dict__
                if self.name not in values:
                    values[self.name] = self.compute(instance)
                return values[self.name]
        finally:
            with self._guard:
                asking.pop()
                if not asking:
                    del self._computing[id(instance)]


gone: ContextVar[threading.Event | None] = ContextVar("gone", default=None)
"""Set once whoever asked for the result has left. A server sets the variable for each request; None where
nobody can leave."""


def check_still_there() -> None:
    """Raises LeftError once nobody waits any more. Call it between pieces of long work."""
    if (event := gone.get()) is not None and event.is_set():
        raise LeftError("whoever asked for this has left, so it was ended")


client: ContextVar[Hashable | None] = ContextVar("client", default=None)
"""The client of the current request; None if it is unknown."""

MAX_CLIENTS_REMEMBERED = 10_000
LOOK_SECONDS = 0.5
"""How often those who wait check whether their client is still there."""

_nobody = count()
_computing: ContextVar["Computation | None"] = ContextVar("computing", default=None)


def current_client() -> Hashable:
    """The current client. If it is unknown, a new one each time."""
    return ("nobody", next(_nobody)) if (who := client.get()) is None else who


class FairQueue:
    """A lock that many threads wait for, each for one piece of work, in fair order.

    The next one is the client whose last turn is the longest ago, newcomers first; among one client's
    pieces, the one that has waited the longest. A long computation takes a turn for each of its
    pieces, so that short ones come in between.
    """

    def __init__(self, waiting: int | None = None, waiting_of_one: int | None = None):
        """waiting: the most computations that wait or run. waiting_of_one: those of one client. None for
        any number."""
        self._waiting, self._waiting_of_one = waiting, waiting_of_one
        self._changed = threading.Condition()
        self._queue: list[_Place] = []
        self._inside: dict[Hashable, int] = {}  # computations of each that have begun
        self._holder: _Place | None = None
        self._arrivals = count()
        self._closed = self._over = False
        self._served: dict[Hashable, int] = {}  # when each had a turn last, the latest at the end

    @contextmanager
    def computation(self) -> Iterator["Computation"]:
        """Enters a computation for as long as the `with` lasts.

        Raises BusyError if too many have entered, and ClosingError after `close`.
        """
        who = current_client()
        with self._changed:
            self._check_open()
            own, everybody = self._inside.get(who, 0), sum(self._inside.values())
            if self._waiting_of_one is not None and own >= self._waiting_of_one:
                raise BusyError(
                    f"{self._waiting_of_one} of your requests are being computed or wait, which is all that "
                    "one visitor may have; wait for one of them"
                )
            if self._waiting is not None and everybody >= self._waiting:
                raise BusyError(
                    f"{everybody} requests are being computed or wait, which is all that fit; try again in a "
                    "moment"
                )
            self._inside[who] = own + 1
        try:
            yield Computation(self, who)
        finally:
            with self._changed:
                self._inside[who] -= 1
                if not self._inside[who]:
                    del self._inside[who]
                self._changed.notify_all()

    def close(self, grace_seconds: float = 0.0) -> None:
        """Accepts no more computations, and gives the present ones some seconds to finish.

        The next piece of those that have not finished raises ClosingError.
        """
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._inside, grace_seconds)
            self._over = True
            self._changed.notify_all()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosingError("the page is being closed and takes no more requests; try again later")

    @property
    def inside(self) -> int:
        """The number of computations that run or wait."""
        with self._changed:
            return sum(self._inside.values())

    def _take(self, place: "_Place") -> None:
        with self._changed:
            self._queue.append(place)
            self._changed.notify_all()
            try:
                while not self._changed.wait_for(lambda: self._is_next(place), LOOK_SECONDS):
                    check_still_there()
            finally:  # also after Ctrl-C: a place without a thread would hold up everybody else
                self._queue.remove(place)
                self._changed.notify_all()
            check_still_there()
            if self._over:
                raise ClosingError("the page is being closed before this was done; ask again later")
            self._holder = place
            self._served.pop(place.who, None)
            self._served[place.who] = next(self._arrivals)
            if len(self._served) > MAX_CLIENTS_REMEMBERED:
                del self._served[next(iter(self._served))]

    def _is_next(self, place: "_Place") -> bool:
        """Whether a piece stops waiting: it is its turn, or the queue is closed."""
        return self._over or (self._holder is None and self._next() is place)

    def _give_back(self) -> None:
        with self._changed:
            self._holder = None
            self._changed.notify_all()

    def _next(self) -> "_Place":
        return min(self._queue, key=lambda place: (self._served.get(place.who, -1), place.number))


class _Place:
    """The place of one piece of work in the queue."""

    def __init__(self, who: Hashable, number: int):
        self.who, self.number = who, number


class Computation:
    """The computation of one request, piece by piece, in one thread at a time."""

    def __init__(self, turns: FairQueue, who: Hashable):
        self._turns, self._who = turns, who
        self._has_turn = False

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Waits for a turn. No other piece runs meanwhile. A piece within a piece is part of the same
        turn."""
        if self._has_turn:
            yield
            return
        self._turns._take(_Place(self._who, next(self._turns._arrivals)))
        self._has_turn = True
        try:
            yield
        finally:
            self._has_turn = False
            self._turns._give_back()

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Everything computed in the `with` belongs to this computation."""
        token = _computing.set(self)
        try:
            yield
        finally:
            _computing.reset(token)


@contextmanager
def in_turn() -> Iterator[None]:
    """Waits for a turn for a pass of a model, if it belongs to a computation."""
    computation = _computing.get()
    if computation is None:
        yield
        return
    with computation.turn():
        yield


def queued(verb: Callable[P, T]) -> Callable[P, T]:
    """Decorates a method so that a call is a computation in its object's `turns`, or part of the calling
    one."""

    @wraps(verb)
    def call(self, *arguments: P.args, **settings: P.kwargs) -> T:
        if _computing.get() is not None:
            return verb(self, *arguments, **settings)
        with self.turns.computation() as computation, computation.going_on():
            return verb(self, *arguments, **settings)

    return call
