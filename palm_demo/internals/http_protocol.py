"""uvicorn's HTTP protocol with a time limit for headers, for our own servers and for the proxy of Ray Serve.

uvicorn itself waits for ever for the rest of a request that has begun, and its settings have no limit for it.
"""

import asyncio

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

KEEP_ALIVE_SECONDS = 75
"""Longer than clients keep a connection that they may use again, or they use one that is being closed."""
HEADER_SECONDS = 20

RAY_CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
"""Names what Ray Serve's proxy, in a process of its own, calls before it makes its server."""
IN_RAY = f"{__name__}:make_servers_patient"
"""Its value here."""


class PatientProtocol(AutoHTTPProtocol):
    """uvicorn's protocol, which closes a connection whose next request is not there in time."""

    _closing: asyncio.TimerHandle | None = None

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        super().connection_lost(exc)

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
    """Servers that are made in this process from now on speak PatientProtocol where nobody chooses another.
    The middlewares that Ray takes from its callback: none."""
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{PatientProtocol.__name__}"
    return []
