"""Identifies visitors by a signed cookie.

The name of a session (Gradio's session hash) is chosen by the browser and could be copied. So Gradio is
given another name, the visitor's room and the browser's name: two visitors who use the same name have two
sessions.
"""

import base64
import hashlib
import hmac
import re
import secrets
import threading
from dataclasses import dataclass, replace

import gradio as gr
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import Scope

from palm_demo.ui.boundary.fair_memory import FairMemory
from palm_demo.ui.boundary.network import Network

SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Names that a browser may give a session."""
KEY = "palm_demo.visitor"
"""The key of the Visitor in an ASGI scope."""
REFUSED = "palm_demo.refused"
"""The key of a message in an ASGI scope with which the event fails, for clients that show no other error."""
CALLER = b"x-palm-demo-caller"
"""The header in which the page's own client, which makes the calls of MCP, names the visitor."""
COOKIE_SECONDS = 2 * 24 * 3600
NEWCOMERS = 10_000
"""The most sessions that are remembered of visitors who have not sent their cookie back yet."""


@dataclass(frozen=True)
class Visitor:
    """The sender of a request.

    Attributes:
        name: owns files.
        room: owns sessions; the beginning of their names.
        address: the IP address, see `Network.address`.
        known: whether the request has a valid cookie. Nothing is kept for other visitors.
        new: the name for a new cookie; None if there is no need for one.
        local: whether it is whoever runs the page, see `Network.is_local`.
    """

    name: str
    room: str
    address: str
    known: bool
    new: str | None = None
    local: bool = False

    @property
    def names(self) -> tuple[str, str]:
        """Names under which the visitor has access to files: their own, and that of all visitors without a
        cookie at their address."""
        return self.name, nobody_at(self.address)

    def session(self, called: str) -> str:
        """Gradio's name of the session that the visitor's browser calls by this name."""
        return f"{self.room}.{called}"

    def owns(self, session: str) -> bool:
        """Whether a session, by Gradio's name, is one of the visitor's."""
        return session.startswith(f"{self.room}.")


class Visitors:
    """Identifies visitors and makes their cookies, which are valid until this process ends.

    secret: signs cookies; random by default.
    """

    def __init__(self, network: Network, secret: bytes | None = None):
        self.network = network
        self._secret = secret or secrets.token_bytes(32)
        # all pages on one host get the same cookies, so each page names its own differently
        self.cookie = f"palm_demo_{hashlib.sha256(self._secret).hexdigest()[:12]}"
        self._newcomers: FairMemory[tuple[str, str], str] = FairMemory(NEWCOMERS)
        self._lock = threading.Lock()

    def of(self, scope: Scope) -> Visitor:
        """The sender of a request. Cookies are ignored in requests that come from pages of other sites."""
        headers = Headers(scope=scope)
        address = self.network.address(scope)
        foreign, local = self.network.is_foreign(scope), self.network.is_local(scope)
        cookie = None if foreign else self._read_cookie(headers)
        room = cookie or nobody_at(address)
        if (caller := self._read_caller(headers)) is not None:
            name, called_from = caller
            return Visitor(name, room, called_from, known=False)
        if cookie is not None:
            return Visitor(cookie, cookie, address, known=True, local=local)
        new = f"v-{secrets.token_hex(16)}"
        return Visitor(room, room, address, known=False, new=new, local=local and not foreign)

    def enter(self, visitor: Visitor, called: str) -> Visitor:
        """The visitor who begins a session. Without a cookie, it is the one that the response will set."""
        found = self.find(visitor, called)
        if found.new is None or found is not visitor:
            return found
        with self._lock:
            self._newcomers.remember((visitor.address, called), visitor.address, visitor.new)
        return replace(visitor, room=visitor.new)

    def find(self, visitor: Visitor, called: str) -> Visitor:
        """The visitor who continues a session.

        A visitor without a cookie is recognized by their address and the name of the session. Once a cookie
        has been sent for a session, only that cookie gives access to it.
        """
        with self._lock:
            newcomer = self._newcomers.get((visitor.address, called))
            if newcomer is None:
                return visitor
            if visitor.room == newcomer:
                self._newcomers.forget((visitor.address, called))
                return visitor
        if visitor.new is None:
            return visitor
        return replace(visitor, room=newcomer, new=None)

    def set_cookie(self, visitor: Visitor, scope: Scope) -> bytes:
        """The value of a Set-Cookie header with the visitor's new name.

        In a Space, the Hub shows the page in a frame, and browsers send cookies there only with
        SameSite=None.
        """
        secure = self.network.is_secure(scope)
        rules = "SameSite=Lax"
        if secure:
            rules = "SameSite=None; Secure; Partitioned" if self.network.space else "SameSite=Lax; Secure"
        value = f"{visitor.new}.{self._sign('cookie', visitor.new)}"
        return f"{self.cookie}={value}; Path=/; Max-Age={COOKIE_SECONDS}; HttpOnly; {rules}".encode()

    def call_for(self, visitor: Visitor) -> bytes:
        """The value of the header CALLER for calls that the page's own client makes for a visitor."""
        caller = base64.urlsafe_b64encode(f"{visitor.name}|{visitor.address}".encode()).decode()
        return f"{caller}.{self._sign('caller', caller)}".encode()

    def _read_caller(self, headers: Headers) -> tuple[str, str] | None:
        caller, _, sign = headers.get(CALLER.decode(), "").rpartition(".")
        if not caller or not self._is_signed("caller", caller, sign):
            return None
        name, _, address = base64.urlsafe_b64decode(caller).decode().partition("|")
        return name, address

    def _read_cookie(self, headers: Headers) -> str | None:
        cookies = cookie_parser("; ".join(headers.getlist("cookie")))
        name, _, sign = cookies.get(self.cookie, "").rpartition(".")
        return name if name and self._is_signed("cookie", name, sign) else None

    def _sign(self, kind: str, text: str) -> str:
        return hmac.new(self._secret, f"{kind}:{text}".encode(), hashlib.sha256).hexdigest()

    def _is_signed(self, kind: str, text: str, sign: str) -> bool:
        return hmac.compare_digest(self._sign(kind, text).encode(), sign.encode("utf-8", "replace"))


def nobody_at(address: str) -> str:
    """The name of visitors without a cookie at an address."""
    return f"at-{hashlib.sha256(address.encode()).hexdigest()[:32]}"


def visitor_of(request: gr.Request | None) -> Visitor | None:
    """The visitor who sent the request of an event handler; None if it did not pass the guard."""
    return from_guard(request, KEY)


def from_guard(request: gr.Request | None, key: str) -> object:
    """The value that the guard has put into the ASGI scope of an event handler's request; None if none."""
    inner = getattr(request, "request", request)
    scope = getattr(inner, "scope", None)
    return scope.get(key) if isinstance(scope, dict) else None


def owner_of(request: gr.Request) -> str | None:
    """The session for which something may be kept.

    None for visitors without a cookie and for assistants (MCP), for whom nothing is kept.
    """
    visitor = visitor_of(request)
    return request.session_hash if visitor is not None and visitor.known else None


def is_local(request: gr.Request) -> bool:
    """Whether the request of an event handler came from whoever runs the page, on this machine."""
    visitor = visitor_of(request)
    return visitor is not None and visitor.local


def address_of(request: gr.Request) -> str:
    """The address that the request of an event handler came from; "" if it did not pass the guard."""
    visitor = visitor_of(request)
    return "" if visitor is None else visitor.address
