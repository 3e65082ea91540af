"""How long a client may take: to ask, to send what it has to, and to take what it gets."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import Message, Receive, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

KEEP_ALIVE_SECONDS = 75
"""Longer than clients keep a connection that they may use again, or they use one that is being closed."""
HEADER_SECONDS = 20
BODY_SECONDS = 30
SLOWEST_BYTES_PER_SECOND = 10_000
"""For what a body has beyond its first seconds."""
TAKING_SECONDS = 60
"""For a client to take one piece of an answer."""


class TooSlow(Exception):
    """A client that does not send or take in time."""


class PatientProtocol(AutoHTTPProtocol):
    """uvicorn's protocol, which closes a connection whose next request is not there in time.

    uvicorn itself waits for ever for the rest of a request that has begun.
    """

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
            self._rest()  # the request is there; the door minds the time that its body takes
        elif self._closing is None:
            self._closing = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _rest(self) -> None:
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None


def punctual(receive: Receive) -> Receive:
    """Raises TooSlow when a body does not come in time. What comes after it, which is that the client
    leaves, may take as long as it likes."""
    began, taken, ended = time.monotonic(), 0, False

    async def in_time() -> Message:
        nonlocal taken, ended
        if ended:
            return await receive()
        left = began + BODY_SECONDS + taken / SLOWEST_BYTES_PER_SECOND - time.monotonic()
        try:
            message = await asyncio.wait_for(receive(), max(left, 0.001))
        except asyncio.TimeoutError:
            raise TooSlow("the request did not come in time") from None
        taken += len(message.get("body", b""))
        ended = not message.get("more_body", False)
        return message

    return in_time


def taken(send: Send) -> Send:
    """Raises TooSlow when the client takes no piece of the answer for a while."""

    async def in_time(message: Message) -> None:
        try:
            await asyncio.wait_for(send(message), TAKING_SECONDS)
        except asyncio.TimeoutError:
            raise TooSlow("the answer was not taken in time") from None

    return in_time


class Listeners:
    """The streams of events that are open, so that whoever ends the page can let them come to their end."""

    def __init__(self) -> None:
        self._changed, self._open = threading.Condition(), 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """A stream is open for as long as the `with` lasts."""
        with self._changed:
            self._open += 1
        try:
            yield
        finally:
            with self._changed:
                self._open -= 1
                self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Until none is open, or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: not self._open, seconds)
