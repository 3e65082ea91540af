"""Which thread computes, and whose turn it is: the requests of many visitors on few cores.

A request is a computation, and each pass of a model in it a piece, for which it waits its turn. So a long
request lets short ones in between, and one visitor's requests do not hold up all others.

Whoever asks is named in a context variable that a server sets for each request: an address, say. Library
callers name nobody; each of their requests then counts as somebody else's.
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


class locked_cached_property(Generic[T]):
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


gone: ContextVar[threading.Event | None] = ContextVar("gone", default=None)
"""Set once whoever asked for what is computed has left. A server sets the variable for each request; None
where nobody can leave."""


def has_left() -> bool:
    """Whether nobody waits any more for what is computed here."""
    return (event := gone.get()) is not None and event.is_set()


def check_still_there() -> None:
    """Raises LeftError once nobody waits any more. To be called between pieces of long work."""
    if has_left():
        raise LeftError("whoever asked for this has left, so it was ended")


client: ContextVar[Hashable | None] = ContextVar("client", default=None)
"""Whose request this is; None: nobody's in particular."""

MAX_CLIENTS_REMEMBERED = 10_000
LOOK_SECONDS = 0.5
"""Between two looks of who stands in line whether whoever asked is still there."""

_nobody = count()
_computing: ContextVar["Computation | None"] = ContextVar("computing", default=None)


@contextmanager
def as_client(who: Hashable | None) -> Iterator[None]:
    """What is computed in the `with` is theirs."""
    token = client.set(who)
    try:
        yield
    finally:
        client.reset(token)


def current_client() -> Hashable:
    """Who asks now; a new stranger each time where nobody was named."""
    return ("nobody", next(_nobody)) if (who := client.get()) is None else who


class FairQueue:
    """A lock that many threads wait for, each for one piece of work. Next is whose last turn is the longest
    ago: a newcomer before all others, and of one client's pieces the one that has waited the longest.

    A long computation takes a turn for each of its pieces, so that short ones come in between.
    """

    def __init__(self, waiting: int | None = None, waiting_of_one: int | None = None):
        """waiting: computations that may stand in line, waiting_of_one: those of one client; None: any."""
        self._waiting, self._waiting_of_one = waiting, waiting_of_one
        self._changed = threading.Condition()
        self._line: list[_Place] = []
        self._inside: dict[Hashable, int] = {}  # computations of each that have begun
        self._holder: _Place | None = None
        self._arrivals = count()
        self._closed = self._over = False
        self._served: dict[Hashable, int] = {}  # when each had a turn last, the latest at the end

    @contextmanager
    def computation(self) -> Iterator["Computation"]:
        """Stands in line for as long as the `with` lasts. Raises BusyError where too many do, ClosingError
        after `close`."""
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
        """Takes no more computations, and gives those there are so many seconds to end; the next piece of
        those that have not raises ClosingError."""
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
        """Computations that go on or wait."""
        with self._changed:
            return sum(self._inside.values())

    def _take(self, place: "_Place") -> None:
        with self._changed:
            self._line.append(place)
            self._changed.notify_all()
            while not self._changed.wait_for(lambda: self._is_next(place), LOOK_SECONDS) and not has_left():
                continue
            self._line.remove(place)
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
        """Whether its wait is over: it can go on, or nothing does any more."""
        return self._over or (self._holder is None and self._next() is place)

    def _give_back(self) -> None:
        with self._changed:
            self._holder = None
            self._changed.notify_all()

    def _next(self) -> "_Place":
        return min(self._line, key=lambda place: (self._served.get(place.who, -1), place.number))


class _Place:
    """Of one piece of work in line."""

    def __init__(self, who: Hashable, number: int):
        self.who, self.number = who, number


class Computation:
    """What one request computes, piece by piece, in one thread at a time."""

    def __init__(self, turns: FairQueue, who: Hashable):
        self._turns, self._who = turns, who
        self._has_turn = False

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Nobody else's piece runs meanwhile. A piece of a piece is the same turn."""
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
        """What is computed in the `with` belongs to it."""
        token = _computing.set(self)
        try:
            yield
        finally:
            _computing.reset(token)


@contextmanager
def in_turn() -> Iterator[None]:
    """A pass of a model, which waits for its turn where it belongs to a computation."""
    computation = _computing.get()
    if computation is None:
        yield
        return
    with computation.turn():
        yield


def queued(verb: Callable[P, T]) -> Callable[P, T]:
    """A method whose call is a computation in its object's `turns`, or part of the one that calls it."""

    @wraps(verb)
    def call(self, *arguments: P.args, **settings: P.kwargs) -> T:
        if _computing.get() is not None:
            return verb(self, *arguments, **settings)
        with self.turns.computation() as computation, computation.going_on():
            return verb(self, *arguments, **settings)

    return call
