"""Timeouts for clients: for sending a request body, and for receiving a response.

The timeout for request headers is in `palm_demo.internals.http_protocol`. Also keeps track of open event
streams (`Listeners`), so that work stops when a client disconnects.
"""

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from starlette.types import Message, Receive, Send

BODY_SECONDS = 30
SLOWEST_BYTES_PER_SECOND = 10_000
"""A body has BODY_SECONDS, and more time if at least so many bytes arrive per second."""
SESSIONS = 10_000
"""The most sessions that are remembered. The oldest are forgotten first."""
RECEIVE_SECONDS = 60
"""How long a client may take to receive one piece of a response."""


class ClientTimeout(Exception):
    """A client did not send or receive in time, or has disconnected."""


def receive_in_time(receive: Receive) -> Receive:
    """A `receive` that raises ClientTimeout if the body does not arrive in time.

    The disconnect message after the body has no timeout.
    """
    began, size_bytes, ended = time.monotonic(), 0, False

    async def in_time() -> Message:
        nonlocal size_bytes, ended
        if ended:
            return await receive()
        left = began + BODY_SECONDS + size_bytes / SLOWEST_BYTES_PER_SECOND - time.monotonic()
        try:
            message = await asyncio.wait_for(receive(), max(left, 0.001))
        except asyncio.TimeoutError:
            raise ClientTimeout("the request did not come in time") from None
        size_bytes += len(message.get("body", b""))
        ended = not message.get("more_body", False)
        return message

    return in_time


def send_in_time(send: Send) -> Send:
    """A `send` that raises ClientTimeout if the client receives nothing for RECEIVE_SECONDS."""

    async def in_time(message: Message) -> None:
        try:
            await asyncio.wait_for(send(message), RECEIVE_SECONDS)
        except asyncio.TimeoutError:
            raise ClientTimeout("the answer was not taken in time") from None

    return in_time


class Listeners:
    """The open event streams of a page.

    When a client disconnects from a stream, what is computed for it ends. Before the page ends, `wait` lets
    the streams end.
    """

    def __init__(self) -> None:
        self._changed, self._open = threading.Condition(), 0
        self._gone: OrderedDict[str, threading.Event] = OrderedDict()

    def gone(self, session: str) -> threading.Event:
        """An event that is set when the client that listens to a session disconnects."""
        with self._changed:
            event = self._gone.setdefault(session, threading.Event())
            while len(self._gone) > SESSIONS:
                self._gone.popitem(last=False)
            return event

    def leave(self, session: str) -> None:
        """Ends what is computed for a session now. Later requests of the session get a new event."""
        if (event := self.forget(session)) is not None:
            event.set()

    def forget(self, session: str) -> threading.Event | None:
        """Removes and returns the event of a session; None if there is none."""
        with self._changed:
            return self._gone.pop(session, None)

    @asynccontextmanager
    async def following(
        self, session: str, receive: Receive, send: Send
    ) -> AsyncIterator[tuple[Receive, Send]]:
        """Counts a stream as open, and calls `leave` if the client disconnects before it ends.

        Yields the `receive` and `send` to use for it.
        """
        ended = False

        async def received() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect" and not ended:
                self.leave(session)
            return message

        async def sent(message: Message) -> None:
            nonlocal ended
            await send(message)
            ended = ended or (message["type"] == "http.response.body" and not message.get("more_body", False))

        with self._counted():
            try:
                yield received, sent
            finally:
                if not ended:
                    self.leave(session)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Counts a stream as open within the `with`."""
        with self._changed:
            self._open += 1
        try:
            yield
        finally:
            with self._changed:
                self._open -= 1
                self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Waits until no stream is open, but not longer than the given time."""
        with self._changed:
            self._changed.wait_for(lambda: not self._open, seconds)
