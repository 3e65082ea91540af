"""Stores the scopes that visitors have fine-tuned or uploaded. Only their owners see them."""

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
from palm_demo.ui.palm.voices import BASE, PLAIN, shown_name

OWN = "own/"
"""The beginning of choices that are a visitor's own scopes. Names of scopes cannot have a slash."""


@dataclass(frozen=True)
class UserAdapter:
    """A scope of a visitor.

    Attributes:
        adapter: the weights.
        file: the same, for download.
        kept_at: when it was stored, in seconds of the store's clock.
    """

    adapter: Adapter
    file: Path
    kept_at: float


class UserAdapters:
    """The scopes of all visitors, by visitor (session hash) and name.

    There are limits per visitor, per address, in all, and for the age. A scope that is being fine-tuned or
    uploaded counts from its beginning.

    Args:
        session: writes the files.
        limits: how many, and for how long.
        clock: returns the time in seconds.

    Attributes:
        files: the paths of the files of all stored scopes.
    """

    def __init__(self, session: Session, limits: Limits, clock: Callable[[], float] = time.monotonic):
        self.session, self.limits, self.clock = session, limits, clock
        self.files: set[str] = set()
        self._kept: dict[str, dict[str, UserAdapter]] = {}
        self._reserved: dict[str, set[str]] = {}
        self._addresses: dict[str, str] = {}
        self._lock = threading.RLock()

    def names(self, visitor: str) -> list[str]:
        """Names of a visitor's scopes."""
        with self._lock:
            self._delete_expired()
            return list(self._kept.get(visitor, {}))

    def choices(self, visitor: str) -> list[tuple[str, str]]:
        """(label, value) of all scopes that a visitor can choose, with the base model first."""
        own = [(f"{name} (yours)", OWN + name) for name in self.names(visitor)]
        return [(PLAIN, BASE), *((shown_name(name), name) for name in self.session.scopes), *own]

    def scope(self, visitor: str, choice: str) -> Scope:
        """The session's argument for a choice. Raises ScopeError if there is no such scope."""
        if choice == BASE:
            return None
        if isinstance(choice, str) and choice.startswith(OWN):
            return self.find(visitor, choice.removeprefix(OWN)).adapter
        if choice not in self.session.scopes:
            raise ScopeError(
                f"there is no voice {choice!r:.80}; known ones: {', '.join(self.session.scopes)}"
            )
        return choice

    def mix(self, visitor: str, parts: Sequence[tuple[str, float]]) -> Scope:
        """The session's argument for choices with their strengths: None for the base model, one scope if it
        has strength 1, otherwise a mix. Raises ScopeError if there is no such scope."""
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
        """A visitor's scope. Raises ScopeError if it is unknown or was forgotten."""
        with self._lock:
            self._delete_expired()
            try:
                return self._kept[visitor][name]
            except KeyError:
                raise ScopeError(
                    f"you have no voice {name!r}; teach one, or upload it: the page forgets voices when you "
                    f"leave and after {self.limits.user_adapter_minutes} minutes"
                ) from None

    def check_room(self, visitor: str | None, name: str, address: str = "") -> str:
        """Checks whether a scope can be stored, and returns its name without spaces around it.

        Args:
            visitor: None for a visitor without a cookie, for whom nothing is stored.
            name: of the scope.
            address: of the visitor; "" if it is not known.

        Raises:
            ScopeError: if the name is invalid or taken, or the visitor has too many scopes or no cookie.
            BusyError: if there are too many scopes at this address or in all.
        """
        name = name.strip() if isinstance(name, str) else ""
        if not SCOPE_NAME.fullmatch(name):
            raise ScopeError(
                f"the voice's name {name!r:.80} is not allowed; use letters, digits, '-' and '_', at most 64"
            )
        if visitor is None:
            raise ScopeError(
                "nothing can be kept for a browser that keeps no cookie of this page; allow it one, or open "
                "the page in a tab of its own"
            )
        with self._lock:
            self._delete_expired()
            own = {*self._kept.get(visitor, ()), *self._reserved.get(visitor, ())}
            if name in own:
                raise ScopeError(f"you already have a voice {name!r}; remove it first or choose a new name")
            if len(own) >= self.limits.user_adapters:
                raise ScopeError(
                    f"you have {len(own)} voices and {self.limits.user_adapters} fit; remove one first"
                )
            if address and self._count_scopes(address) >= self.limits.user_adapters_of_address:
                raise BusyError(
                    f"the page keeps {self.limits.user_adapters_of_address} voices of visitors from your "
                    "address, and no more fit; remove one, or try again later"
                )
            if self._count_scopes() >= self.limits.user_adapters_of_all:
                raise BusyError(
                    f"the page keeps {self.limits.user_adapters_of_all} voices of its visitors, and no more "
                    "fit; try again later"
                )
        return name

    @contextmanager
    def place(self, visitor: str | None, name: str, address: str = "") -> Iterator["Place"]:
        """Reserves a place for a scope within the `with`. It is free afterwards if nothing was stored in it.

        The arguments and errors are those of `check_room`.
        """
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

    def _keep(self, place: "Place", adapter: Adapter) -> None:
        """Stores an adapter in a place, instead of the one before."""
        file = upload_folder() / secrets.token_hex(16) / f"{place.name}.safetensors"
        kept = UserAdapter(adapter, file, self.clock())
        try:
            self.session.save_adapter(adapter, file)
            with self._lock:
                if self._reserved.get(place.visitor) is not place.reserved:
                    raise ScopeError(
                        f"the voice {place.name!r} belongs to a visit that is over; open the page and teach "
                        "it again"
                    )
                own = self._kept.setdefault(place.visitor, {})
                before, own[place.name] = own.get(place.name), kept
                self.files.add(str(file))
        except BaseException:
            self._delete(kept)
            raise
        if before is not None:
            self._delete(before)

    def remove(self, visitor: str, name: str) -> None:
        """Deletes a visitor's scope. Raises ScopeError if there is none."""
        with self._lock:
            gone = self.find(visitor, name)
            del self._kept[visitor][name]
        self._delete(gone)

    def leave(self, visitor: str) -> None:
        """Deletes all scopes and reservations of a visitor who has left."""
        with self._lock:
            gone = self._kept.pop(visitor, {})
            self._reserved.pop(visitor, None)
            self._addresses.pop(visitor, None)
        for scope in gone.values():
            self._delete(scope)

    def _count_scopes(self, address: str | None = None) -> int:
        """The number of stored and reserved scopes, of all visitors or of those at one address."""
        visitors = self._kept.keys() | self._reserved.keys()
        if address is not None:
            visitors = {visitor for visitor in visitors if self._addresses.get(visitor) == address}
        return sum(len({*self._kept.get(v, ()), *self._reserved.get(v, ())}) for v in visitors)

    def _delete_expired(self) -> None:
        oldest = self.clock() - 60 * self.limits.user_adapter_minutes
        for visitor, own in list(self._kept.items()):
            for name, scope in list(own.items()):
                if scope.kept_at < oldest:
                    self._delete(own.pop(name))
            if not own:
                del self._kept[visitor]
                if visitor not in self._reserved:
                    self._addresses.pop(visitor, None)

    def _delete(self, scope: UserAdapter) -> None:
        self.files.discard(str(scope.file))
        shutil.rmtree(scope.file.parent, ignore_errors=True)


@dataclass(frozen=True)
class Place:
    """A reserved place for a visitor's scope; see `UserAdapters.place`."""

    scopes: UserAdapters
    visitor: str
    name: str
    reserved: set[str]

    def keep(self, adapter: Adapter) -> None:
        """Stores an adapter, and replaces an earlier one. Raises ScopeError if the visitor has left."""
        self.scopes._keep(self, adapter)
