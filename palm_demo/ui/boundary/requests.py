"""A request to the page: who sent it, its body, and where it goes on."""

import json
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl, urlencode
from weakref import WeakValueDictionary

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from palm_demo.ui.boundary.timeouts import ClientTimeout
from palm_demo.ui.boundary.visitors import KEY, Visitor

CALL_BYTES = 1_000_000
"""A call carries text and the names of files, never the files."""


class Refusal(Exception):
    """Ends a request with a status and a sentence."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers


class PageRequest:
    """One request: who sent it, its body, and the way on."""

    def __init__(self, scope: Scope, receive: Receive, send: Send):
        self.scope, self.receive, self.send = scope, receive, send
        self.visitor: Visitor = scope[KEY]
        self.headers = Headers(scope=scope)
        self.path: dict[str, str] = scope.pop("path_params")
        for ours in ("router", "endpoint"):  # the application has its own
            scope.pop(ours, None)

    async def json(self) -> object:
        """The body, if it is JSON and not too large."""
        body, more = bytearray(), True
        while more:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientTimeout("the client left")
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > CALL_BYTES:
                raise Refusal(413, f"A call can have {CALL_BYTES} bytes at most.")
        return self.parsed(bytes(body))

    @staticmethod
    def parsed(body: bytes) -> object:
        """The value of a body that is JSON."""
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise Refusal(400, "The body is not JSON that this page can read.") from None

    async def call(self) -> dict:
        body = await self.json()
        if not isinstance(body, dict):
            raise Refusal(422, "The body is not a JSON object.")
        return body

    def bound_body(self) -> None:
        """Ends the request when its body, of whatever kind, is larger than a call may be."""
        receive, taken = self.receive, 0

        async def bounded() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > CALL_BYTES:
                raise Refusal(413, f"A call can have {CALL_BYTES} bytes at most.")
            return message

        self.receive = bounded

    def replace_body(self, value: object) -> None:
        body = json.dumps(value).encode()
        headers = [
            pair for pair in self.scope["headers"] if pair[0] not in (b"content-length", b"transfer-encoding")
        ]
        self.scope["headers"] = [*headers, (b"content-length", str(len(body)).encode())]
        waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        receive = self.receive

        async def replayed() -> Message:
            return waiting.pop() if waiting else await receive()

        self.receive = replayed

    def replace_query(self, **changed: str) -> None:
        request = dict(parse_qsl(self.scope["query_string"].decode("latin-1"), keep_blank_values=True))
        self.scope["query_string"] = urlencode(request | changed).encode()

    def query(self, name: str) -> str:
        return dict(parse_qsl(self.scope["query_string"].decode("latin-1"))).get(name, "")


Handler = Callable[[PageRequest], Awaitable[None]]


class HandlerApp:
    """A handler as an ASGI application."""

    def __init__(self, handler: Handler):
        self.handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.handler(PageRequest(scope, receive, send))


class OneAtATimePerAddress:
    """Lets one request of each address through at a time, for what takes the event loop while it is made, and
    hands the answer on when it is whole: a client that takes it slowly holds up nobody."""

    def __init__(self, app: ASGIApp):
        self.app = app
        self._locks: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()

    async def __call__(self, request: PageRequest) -> None:
        whole = BufferedSend(request.send)
        async with self._locks.setdefault(request.visitor.address, anyio.Lock()):
            await self.app(request.scope, request.receive, whole)
        await whole.on()


class BufferedSend:
    """Holds an answer back until it is looked at."""

    def __init__(self, send: Send):
        self._send, self._messages = send, []

    async def __call__(self, message: Message) -> None:
        self._messages.append(message)

    @property
    def status(self) -> int:
        return self._messages[0]["status"] if self._messages else 500

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return [*self._messages[0]["headers"]]

    def replace(self, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Has another body go on, under these headers."""
        self._messages = [
            {**self._messages[0], "headers": headers},
            {"type": "http.response.body", "body": body, "more_body": False},
        ]

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self._messages[1:])

    async def on(self) -> None:
        for message in self._messages:
            await self._send(message)
