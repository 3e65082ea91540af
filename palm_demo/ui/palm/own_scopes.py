"""The scopes that visitors taught or uploaded: each seen by its owner alone, for as long as the visit."""

import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gradio.utils import get_upload_folder

from palm_demo.errors import BusyError, ScopeError
from palm_demo.lora import SCOPE_NAME, Adapter, Scope
from palm_demo.session import Session
from palm_demo.settings import Limits

BASE = "base"
OWN = "own/"
"""In front of the names of a visitor's own scopes; no other scope's name can have a slash."""


@dataclass(frozen=True)
class OwnScope:
    """file: what its owner can download. kept_at: seconds on the store's clock."""

    adapter: Adapter
    file: Path
    kept_at: float


class OwnScopes:
    """Visitor (session hash) -> name -> scope. Capped by visitor, in all, and by age."""

    def __init__(self, session: Session, limits: Limits, clock: Callable[[], float] = time.monotonic):
        self.session, self.limits, self.clock = session, limits, clock
        self._kept: dict[str, dict[str, OwnScope]] = {}
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

    def find(self, visitor: str, name: str) -> OwnScope:
        with self._lock:
            self._forget_the_old()
            try:
                return self._kept[visitor][name]
            except KeyError:
                raise ScopeError(
                    f"you have no scope {name!r}; teach one, or upload it: the page forgets scopes when you "
                    f"leave and after {self.limits.own_scope_minutes} minutes"
                ) from None

    def check_room(self, visitor: str, name: str) -> str:
        """The name, stripped, if a scope can be kept under it. Raises ScopeError, or BusyError when
        the page keeps as many as it can."""
        name = name.strip() if isinstance(name, str) else ""
        own = self.names(visitor)
        if not SCOPE_NAME.fullmatch(name):
            raise ScopeError(
                f"scope name {name!r:.80} is not allowed; use letters, digits, '-' and '_', at most 64"
            )
        if name in own:
            raise ScopeError(f"you already have a scope {name!r}; remove it first or choose a new name")
        if len(own) >= self.limits.own_scopes:
            raise ScopeError(f"you have {len(own)} scopes and {self.limits.own_scopes} fit; remove one first")
        with self._lock:
            if sum(map(len, self._kept.values())) >= self.limits.own_scopes_of_all:
                raise BusyError(
                    f"the page keeps {self.limits.own_scopes_of_all} scopes of its visitors, and no more "
                    "fit; try again later"
                )
        return name

    def keep(self, visitor: str, name: str, adapter: Adapter) -> None:
        """Under a name that `check_room` gave; in place of what it had before, where it had."""
        folder = Path(get_upload_folder(), secrets.token_hex(16))
        file = folder / f"{name}.safetensors"
        self.session.save_adapter(adapter, file)
        with self._lock:
            own = self._kept.setdefault(visitor, {})
            before = own.get(name)
            own[name] = OwnScope(adapter, file, self.clock())
        if before is not None:
            _delete(before)

    def remove(self, visitor: str, name: str) -> None:
        gone = self.find(visitor, name)
        with self._lock:
            self._kept[visitor].pop(name, None)
        _delete(gone)

    def leave(self, visitor: str) -> None:
        """Forgets all that a visitor who left had."""
        with self._lock:
            gone = self._kept.pop(visitor, {})
        for scope in gone.values():
            _delete(scope)

    def _forget_the_old(self) -> None:
        oldest = self.clock() - 60 * self.limits.own_scope_minutes
        for visitor, own in list(self._kept.items()):
            for name, scope in list(own.items()):
                if scope.kept_at < oldest:
                    _delete(own.pop(name))
            if not own:
                del self._kept[visitor]


def _delete(scope: OwnScope) -> None:
    shutil.rmtree(scope.file.parent, ignore_errors=True)
