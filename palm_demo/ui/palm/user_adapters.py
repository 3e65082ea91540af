"""The scopes that visitors taught or uploaded: each seen by its owner alone, for as long as the visit."""

import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from palm_demo.errors import BusyError, ScopeError
from palm_demo.internals.gradio_files import upload_folder
from palm_demo.models.lora import SCOPE_NAME, Adapter, Scope
from palm_demo.session import Session
from palm_demo.settings import Limits

BASE = "base"
OWN = "own/"
"""In front of the names of a visitor's own scopes; no other scope's name can have a slash."""


@dataclass(frozen=True)
class UserAdapter:
    """file: what its owner can download. kept_at: seconds on the store's clock."""

    adapter: Adapter
    file: Path
    kept_at: float


class UserAdapters:
    """Visitor (session hash) -> name -> scope. Capped by visitor, by address, in all, and by age.

    What is being taught or uploaded has its place from the beginning: caps are checked and taken in one step.
    """

    def __init__(self, session: Session, limits: Limits, clock: Callable[[], float] = time.monotonic):
        self.session, self.limits, self.clock = session, limits, clock
        self._kept: dict[str, dict[str, UserAdapter]] = {}
        self._reserved: dict[str, set[str]] = {}
        self._addresses: dict[str, str] = {}
        self._lock = threading.RLock()

    def names(self, visitor: str) -> list[str]:
        with self._lock:
            self._forget_the_old()
            return list(self._kept.get(visitor, {}))

    def choices(self, visitor: str) -> list[tuple[str, str]]:
        """(what is shown, value) of all scopes that this visitor can choose."""
        own = [(f"{name} (yours)", OWN + name) for name in self.names(visitor)]
        return [(BASE, BASE), *((name, name) for name in self.session.scopes), *own]

    def scope(self, visitor: str, choice: str) -> Scope:
        """What the session takes for a choice. Raises ScopeError on one that is unknown or gone."""
        if choice == BASE:
            return None
        if isinstance(choice, str) and choice.startswith(OWN):
            return self.find(visitor, choice.removeprefix(OWN)).adapter
        if choice not in self.session.scopes:
            raise ScopeError(
                f"there is no scope {choice!r:.80}; known scopes: {', '.join(self.session.scopes)}"
            )
        return choice

    def mix(self, visitor: str, parts: Sequence[tuple[str, float]]) -> Scope:
        """What the session takes for choices with their strengths: nothing for the base, a scope alone where
        it is the only one and has strength 1. Raises ScopeError on one that is unknown or gone."""
        strengths: dict[str | Adapter, float] = {}
        for choice, strength in parts:
            scope = self.scope(visitor, choice)
            if scope is not None:
                strengths[scope] = strengths.get(scope, 0) + strength
        if list(strengths.values()) == [1]:
            (scope,) = strengths
            return scope
        return strengths or None

    def find(self, visitor: str, name: str) -> UserAdapter:
        with self._lock:
            self._forget_the_old()
            try:
                return self._kept[visitor][name]
            except KeyError:
                raise ScopeError(
                    f"you have no scope {name!r}; teach one, or upload it: the page forgets scopes when you "
                    f"leave and after {self.limits.user_adapter_minutes} minutes"
                ) from None

    def check_room(self, visitor: str | None, name: str, address: str = "") -> str:
        """The name, stripped, if a scope can be kept under it. Raises ScopeError, or BusyError when
        the page keeps as many as it can. visitor: None for who is known by no cookie and can keep nothing.
        address: where the visitor is, empty where that is not known."""
        name = name.strip() if isinstance(name, str) else ""
        if not SCOPE_NAME.fullmatch(name):
            raise ScopeError(
                f"scope name {name!r:.80} is not allowed; use letters, digits, '-' and '_', at most 64"
            )
        if visitor is None:
            raise ScopeError(
                "nothing can be kept for a browser that keeps no cookie of this page; allow it one, or open "
                "the page in a tab of its own"
            )
        with self._lock:
            self._forget_the_old()
            own = {*self._kept.get(visitor, ()), *self._reserved.get(visitor, ())}
            if name in own:
                raise ScopeError(f"you already have a scope {name!r}; remove it first or choose a new name")
            if len(own) >= self.limits.user_adapters:
                raise ScopeError(
                    f"you have {len(own)} scopes and {self.limits.user_adapters} fit; remove one first"
                )
            if address and self._places_taken(address) >= self.limits.user_adapters_of_address:
                raise BusyError(
                    f"the page keeps {self.limits.user_adapters_of_address} scopes of visitors from your "
                    "address, and no more fit; remove one, or try again later"
                )
            if self._places_taken() >= self.limits.user_adapters_of_all:
                raise BusyError(
                    f"the page keeps {self.limits.user_adapters_of_all} scopes of its visitors, and no more "
                    "fit; try again later"
                )
        return name

    @contextmanager
    def place(self, visitor: str | None, name: str, address: str = "") -> Iterator["Place"]:
        """A place that nobody else can take, for a scope in the making; free again afterwards unless a scope
        was kept in it. Raises as `check_room`."""
        with self._lock:
            name = self.check_room(visitor, name, address)
            self._addresses[visitor] = address
            reserved = self._reserved.setdefault(visitor, set())
            reserved.add(name)
        try:
            yield Place(self, visitor, name, reserved)
        finally:
            with self._lock:
                reserved.discard(name)
                if self._reserved.get(visitor) is reserved and not reserved:
                    del self._reserved[visitor]
                if visitor not in self._kept and visitor not in self._reserved:
                    self._addresses.pop(visitor, None)

    def keep(self, visitor: str, name: str, adapter: Adapter) -> None:
        """In place of what the name had before, where it had. Raises as `check_room` where none is free."""
        self._keep(visitor, name, adapter, lambda: self._check_new(visitor, name))

    def _check_new(self, visitor: str, name: str) -> None:
        if name not in self._kept.get(visitor, {}):
            self.check_room(visitor, name)

    def _keep(self, visitor: str, name: str, adapter: Adapter, check: Callable[[], None]) -> None:
        """check: is called, and may raise, in one step with what follows."""
        file = upload_folder() / secrets.token_hex(16) / f"{name}.safetensors"
        kept = UserAdapter(adapter, file, self.clock())
        try:
            self.session.save_adapter(adapter, file)
            with self._lock:
                check()
                own = self._kept.setdefault(visitor, {})
                before, own[name] = own.get(name), kept
        except BaseException:
            _delete(kept)
            raise
        if before is not None:
            _delete(before)

    def remove(self, visitor: str, name: str) -> None:
        with self._lock:
            gone = self.find(visitor, name)
            del self._kept[visitor][name]
        _delete(gone)

    def leave(self, visitor: str) -> None:
        """Forgets all that a visitor who left had, and whatever is still in the making."""
        with self._lock:
            gone = self._kept.pop(visitor, {})
            self._reserved.pop(visitor, None)
            self._addresses.pop(visitor, None)
        for scope in gone.values():
            _delete(scope)

    def _places_taken(self, address: str | None = None) -> int:
        """Of all visitors, or of those at one address, kept or in the making."""
        visitors = self._kept.keys() | self._reserved.keys()
        if address is not None:
            visitors = {visitor for visitor in visitors if self._addresses.get(visitor) == address}
        return sum(len({*self._kept.get(v, ()), *self._reserved.get(v, ())}) for v in visitors)

    def _forget_the_old(self) -> None:
        oldest = self.clock() - 60 * self.limits.user_adapter_minutes
        for visitor, own in list(self._kept.items()):
            for name, scope in list(own.items()):
                if scope.kept_at < oldest:
                    _delete(own.pop(name))
            if not own:
                del self._kept[visitor]
                if visitor not in self._reserved:
                    self._addresses.pop(visitor, None)


@dataclass(frozen=True)
class Place:
    """Where one visitor's scope goes when it is made."""

    scopes: UserAdapters
    visitor: str
    name: str
    reserved: set[str]

    def keep(self, adapter: Adapter) -> None:
        """In place of what was kept here before. Raises ScopeError where the visitor has left."""
        self.scopes._keep(self.visitor, self.name, adapter, self._check)

    def _check(self) -> None:
        if self.scopes._reserved.get(self.visitor) is not self.reserved:
            raise ScopeError(
                f"the scope {self.name!r} belongs to a visit that is over; open the page and teach it again"
            )


def _delete(scope: UserAdapter) -> None:
    shutil.rmtree(scope.file.parent, ignore_errors=True)
