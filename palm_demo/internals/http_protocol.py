"""uvicorn's HTTP protocol with limits for clients, for our own servers and Ray Serve's proxy.

uvicorn itself waits for ever for the rest of a request that has begun, and takes as many connections of one
address as there are. It has no settings for either.
"""

import asyncio
import threading
from collections import Counter

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from palm_demo.internals.client_addresses import is_in, one_address, trusted_proxies

KEEP_ALIVE_SECONDS = 75
"""Longer than clients keep an idle connection, so that they do not use one that is being closed."""
HEADER_SECONDS = 20
CONNECTIONS_OF_ONE = 500
"""The most connections of one address, idle ones too. A trusted proxy has the connections of many."""

RAY_CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
"""The variable that names a function which Ray Serve's proxy calls, in its own process, before it makes
its server."""
IN_RAY = f"{__name__}:make_servers_patient"
"""Its value: our function."""


TOO_MANY = f"{CONNECTIONS_OF_ONE} connections of your address are open, and no more fit; close some of them."
REFUSAL = (
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    f"Retry-After: 10\r\nContent-Length: {len(TOO_MANY)}\r\n\r\n{TOO_MANY}"
).encode()


class Connections:
    """Counts the open connections of each address, in this process."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()
        self._lock = threading.Lock()

    def enter(self, address: str, most: int) -> bool:
        """Counts a connection, unless the address has so many. Returns whether it was counted."""
        with self._lock:
            if self._open[address] >= most:
                return False
            self._open[address] += 1
            return True

    def leave(self, address: str) -> None:
        """Ends a connection that was counted."""
        with self._lock:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]


class PatientProtocol(AutoHTTPProtocol):
    """uvicorn's protocol, which closes a connection whose next request does not arrive in time, and those
    of an address that has too many."""

    by_address = Connections()
    _closing: asyncio.TimerHandle | None = None
    _counted: str | None = None

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        if self._is_one_too_many():
            transport.write(REFUSAL)
            transport.close()
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        if self._counted is not None:
            self.by_address.leave(self._counted)
            self._counted = None
        super().connection_lost(exc)

    def _is_one_too_many(self) -> bool:
        peer = self.client[0] if self.client else ""
        if not peer or is_in(peer, trusted_proxies()):  # "": a socket of this machine, without an address
            return False
        address = one_address(peer)
        if not self.by_address.enter(address, CONNECTIONS_OF_ONE):
            return True
        self._counted = address
        return False

    def _watch(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._rest()  # the request is there; whoever reads its body minds the time that takes
        elif self._closing is None:
            self._closing = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _rest(self) -> None:
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None


def make_servers_patient() -> list:
    """Makes PatientProtocol the default protocol of servers that are made in this process from now on.

    Returns an empty list, for Ray expects middlewares from its callback.
    """
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{PatientProtocol.__name__}"
    return []
