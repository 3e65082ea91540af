"""uvicorn's HTTP protocol with a time limit for headers, for our own servers and Ray Serve's proxy.

uvicorn itself waits for ever for the rest of a request that has begun, and has no setting for a limit.
"""

import asyncio

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

KEEP_ALIVE_SECONDS = 75
"""Longer than clients keep an idle connection, so that they do not use one that is being closed."""
HEADER_SECONDS = 20

RAY_CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
"""The variable that names a function which Ray Serve's proxy calls, in its own process, before it makes
its server."""
IN_RAY = f"{__name__}:make_servers_patient"
"""Its value: our function."""


class PatientProtocol(AutoHTTPProtocol):
    """uvicorn's protocol, which closes a connection whose next request does not arrive in time."""

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
    """Makes PatientProtocol the default protocol of servers that are made in this process from now on.

    Returns an empty list, for Ray expects middlewares from its callback.
    """
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{PatientProtocol.__name__}"
    return []
