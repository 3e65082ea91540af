"""How long a client may take to send what it has to, and to take what it gets.

For its headers, `palm_demo.internals.http_protocol` minds the time.
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
"""For what a body has beyond its first seconds."""
SESSIONS = 10_000
"""Remembered at once; the oldest go first."""
TAKING_SECONDS = 60
"""For a client to take one piece of an answer."""


class ClientTimeout(Exception):
    """A client that does not send or take in time."""


def receive_in_time(receive: Receive) -> Receive:
    """Raises ClientTimeout when a body does not come in time. What comes after it, which is that the client
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
            raise ClientTimeout("the request did not come in time") from None
        taken += len(message.get("body", b""))
        ended = not message.get("more_body", False)
        return message

    return in_time


def send_in_time(send: Send) -> Send:
    """Raises ClientTimeout when the client takes no piece of the answer for a while."""

    async def in_time(message: Message) -> None:
        try:
            await asyncio.wait_for(send(message), TAKING_SECONDS)
        except asyncio.TimeoutError:
            raise ClientTimeout("the answer was not taken in time") from None

    return in_time


class Listeners:
    """The streams of events that are open: whoever ends the page lets them come to their end, and what is
    computed for one that its client has left ends."""

    def __init__(self) -> None:
        self._changed, self._open = threading.Condition(), 0
        self._gone: OrderedDict[str, threading.Event] = OrderedDict()

    def gone(self, session: str) -> threading.Event:
        """What is set when whoever listens to a session leaves."""
        with self._changed:
            event = self._gone.setdefault(session, threading.Event())
            while len(self._gone) > SESSIONS:
                self._gone.popitem(last=False)
            return event

    def leave(self, session: str) -> None:
        """Ends what is computed for a session. What it asks for from now on is another matter."""
        if (event := self.forget(session)) is not None:
            event.set()

    def forget(self, session: str) -> threading.Event | None:
        """Nobody leaves a session any more."""
        with self._changed:
            return self._gone.pop(session, None)

    @asynccontextmanager
    async def following(
        self, session: str, receive: Receive, send: Send
    ) -> AsyncIterator[tuple[Receive, Send]]:
        """A stream's receive and send, for as long as it is open. Whoever goes before its end has left."""
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

        with self.one():
            try:
                yield received, sent
            finally:
                if not ended:
                    self.leave(session)

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
