"""Who a visitor is: a signed cookie, and nobody's word for it.

What a browser calls its session (Gradio's session hash) is a name of its own choosing. Inside, a session is
that name within one visitor's room, so another visitor who says the same name means another session.
"""

import base64
import hashlib
import hmac
import re
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace

import gradio as gr
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import Scope

from palm_demo.ui.boundary.network import Network

SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What a session may be called."""
KEY = "palm_demo.visitor"
"""Where the visitor stands in an ASGI scope."""
REFUSED = "palm_demo.refused"
"""Where it stands that a call is to fail, and why, for clients that read no body of a refusal."""
CALLER = b"x-palm-demo-caller"
"""The header by which the page's own client, which calls for MCP, says for whom."""
COOKIE_SECONDS = 2 * 24 * 3600
NEWCOMERS = 10_000
"""Sessions remembered of visitors whose cookie has not come back yet; the oldest go first."""


@dataclass(frozen=True)
class Visitor:
    """name: whose the files are. room: whose the sessions are. known: whether a cookie says so, without
    which nothing is kept for anybody. new: a name to give to who has no cookie yet."""

    name: str
    room: str
    address: str
    known: bool
    new: str | None = None

    @property
    def names(self) -> tuple[str, str]:
        """Under which files may be the visitor's: what came from an address without a cookie is anybody's
        who is there."""
        return self.name, nobody_at(self.address)

    def session(self, called: str) -> str:
        return f"{self.room}.{called}"

    def owns(self, session: str) -> bool:
        return session.startswith(f"{self.room}.")


class Visitors:
    """Tells visitors apart, for as long as this process lives."""

    def __init__(self, network: Network, secret: bytes | None = None):
        self.network = network
        self._secret = secret or secrets.token_bytes(32)
        # pages on one host share cookies: each has its own name for them
        self.cookie = f"palm_demo_{hashlib.sha256(self._secret).hexdigest()[:12]}"
        self._newcomers: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, scope: Scope) -> Visitor:
        """Who sends a request. A page of another site never acts as the visitor who looks at it."""
        headers = Headers(scope=scope)
        address = self.network.address(scope)
        cookie = None if self.network.is_foreign(scope) else self._read(headers)
        room = cookie or nobody_at(address)
        if (caller := self._called_for(headers)) is not None:
            name, called_from = caller
            return Visitor(name, room, called_from, known=False)
        if cookie is not None:
            return Visitor(cookie, cookie, address, known=True)
        return Visitor(room, room, address, known=False, new=f"v-{secrets.token_hex(16)}")

    def enter(self, visitor: Visitor, called: str) -> Visitor:
        """The visitor as who opens a session: without a cookie yet, the one that the answer brings."""
        found = self.find(visitor, called)
        if found.new is None or found is not visitor:
            return found
        with self._lock:
            self._newcomers[visitor.address, called] = visitor.new
            while len(self._newcomers) > NEWCOMERS:
                self._newcomers.popitem(last=False)
        return replace(visitor, room=visitor.new)

    def find(self, visitor: Visitor, called: str) -> Visitor:
        """The visitor as who comes back to a session. Who keeps no cookies is known by address and name of
        the session; once the cookie of a session has come back, it alone opens that session."""
        with self._lock:
            newcomer = self._newcomers.get((visitor.address, called))
            if newcomer is None:
                return visitor
            if visitor.room == newcomer:
                del self._newcomers[visitor.address, called]
                return visitor
        if visitor.new is None:
            return visitor
        return replace(visitor, room=newcomer, new=None)

    def set_cookie(self, visitor: Visitor, scope: Scope) -> bytes:
        """The header that tells a browser its new name. In a Space the page stands in a frame of the Hub's,
        where a browser sends only cookies that say that they may be."""
        secure = self.network.is_secure(scope)
        rules = "SameSite=Lax"
        if secure:
            rules = "SameSite=None; Secure; Partitioned" if self.network.space else "SameSite=Lax; Secure"
        value = f"{visitor.new}.{self._sign('cookie', visitor.new)}"
        return f"{self.cookie}={value}; Path=/; Max-Age={COOKIE_SECONDS}; HttpOnly; {rules}".encode()

    def call_for(self, visitor: Visitor) -> bytes:
        """The value of CALLER for what the page's own client does on behalf of a visitor."""
        told = base64.urlsafe_b64encode(f"{visitor.name}|{visitor.address}".encode()).decode()
        return f"{told}.{self._sign('caller', told)}".encode()

    def _called_for(self, headers: Headers) -> tuple[str, str] | None:
        told, _, sign = headers.get(CALLER.decode(), "").rpartition(".")
        if not told or not self._is_signed("caller", told, sign):
            return None
        name, _, address = base64.urlsafe_b64decode(told).decode().partition("|")
        return name, address

    def _read(self, headers: Headers) -> str | None:
        cookies = cookie_parser("; ".join(headers.getlist("cookie")))
        name, _, sign = cookies.get(self.cookie, "").rpartition(".")
        return name if name and self._is_signed("cookie", name, sign) else None

    def _sign(self, kind: str, text: str) -> str:
        return hmac.new(self._secret, f"{kind}:{text}".encode(), hashlib.sha256).hexdigest()

    def _is_signed(self, kind: str, text: str, sign: str) -> bool:
        return hmac.compare_digest(self._sign(kind, text).encode(), sign.encode("utf-8", "replace"))


def nobody_at(address: str) -> str:
    """The name of whoever has no cookie at an address."""
    return f"at-{hashlib.sha256(address.encode()).hexdigest()[:32]}"


def visitor_of(request: gr.Request | None) -> Visitor | None:
    """Who sent the request of an event handler, as the guard found; None where it came by no guard."""
    return told_by_guard(request, KEY)


def told_by_guard(request: gr.Request | None, key: str) -> object:
    """What the guard wrote into the ASGI scope of an event handler's request, None where it wrote nothing."""
    inner = getattr(request, "request", request)
    scope = getattr(inner, "scope", None)
    return scope.get(key) if isinstance(scope, dict) else None


def owner_of(request: gr.Request) -> str | None:
    """The session for which something may be kept, None for whoever is not known by a cookie: callers
    without one and all assistants (MCP) own nothing."""
    visitor = visitor_of(request)
    return request.session_hash if visitor is not None and visitor.known else None


def address_of(request: gr.Request) -> str:
    """From where the request of an event handler came; empty where it came by no guard."""
    visitor = visitor_of(request)
    return "" if visitor is None else visitor.address
