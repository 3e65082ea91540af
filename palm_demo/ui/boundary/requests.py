"""A request to the page: its visitor, its body, and how it is passed on."""

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from urllib.parse import parse_qsl, urlencode
from weakref import WeakValueDictionary

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from palm_demo.ui.boundary.files import check_extent
from palm_demo.ui.boundary.timeouts import ClientTimeout
from palm_demo.ui.boundary.visitors import KEY, Visitor

CALL_BYTES = 1_000_000
"""The largest body of a call. Files are uploaded before it, and named in it."""


class Refusal(Exception):
    """Ends a request with an HTTP status and a message for the visitor."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers


class PageRequest:
    """A request to the page, which a handler may change before it passes it on.

    Attributes:
        scope, receive, send: of ASGI.
        visitor: who sends it.
        path: the parameters in its path, by name.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send):
        self.scope, self.receive, self.send = scope, receive, send
        self.visitor: Visitor = scope[KEY]
        self.headers = Headers(scope=scope)
        self.path: dict[str, str] = scope.pop("path_params")
        for key in ("router", "endpoint"):  # Gradio's router sets its own
            scope.pop(key, None)

    async def json(self) -> object:
        """The body, parsed. Raises Refusal if it is not JSON or larger than CALL_BYTES."""
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
        """The value of a JSON body. Raises Refusal if it is not JSON, and MediaError as `check_extent`."""
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            raise Refusal(400, "The body is not JSON that this page can read.") from None
        check_extent(value)
        return value

    async def call(self) -> dict:
        """The body, which must be a JSON object. Raises Refusal otherwise."""
        body = await self.json()
        if not isinstance(body, dict):
            raise Refusal(422, "The body is not a JSON object.")
        return body

    def bound_body(self) -> None:
        """Makes `receive` raise Refusal if the body, of whatever kind, is larger than CALL_BYTES."""
        receive, size_bytes = self.receive, 0

        async def bounded() -> Message:
            nonlocal size_bytes
            message = await receive()
            size_bytes += len(message.get("body", b""))
            if size_bytes > CALL_BYTES:
                raise Refusal(413, f"A call can have {CALL_BYTES} bytes at most.")
            return message

        self.receive = bounded

    def replace_body(self, value: object) -> None:
        """Passes a value on as the JSON body."""
        body = json.dumps(value).encode()
        headers = [
            pair for pair in self.scope["headers"] if pair[0] not in (b"content-length", b"transfer-encoding")
        ]
        self.scope["headers"] = [*headers, (b"content-length", str(len(body)).encode())]
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        receive = self.receive

        async def replayed() -> Message:
            return messages.pop() if messages else await receive()

        self.receive = replayed

    def replace_query(self, **changed: str) -> None:
        """Sets parameters of the query. The others stay."""
        request = dict(parse_qsl(self.scope["query_string"].decode("latin-1"), keep_blank_values=True))
        self.scope["query_string"] = urlencode(request | changed).encode()

    def drop_query(self, *names: str) -> None:
        """Removes parameters of the query."""
        pairs = parse_qsl(self.scope["query_string"].decode("latin-1"), keep_blank_values=True)
        self.scope["query_string"] = urlencode([pair for pair in pairs if pair[0] not in names]).encode()

    def query(self, name: str) -> str:
        """A parameter of the query; "" if it is missing."""
        return dict(parse_qsl(self.scope["query_string"].decode("latin-1"))).get(name, "")


Handler = Callable[[PageRequest], Awaitable[None]]


class HandlerApp:
    """An ASGI application that calls a handler with a PageRequest."""

    def __init__(self, handler: Handler):
        self.handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.handler(PageRequest(scope, receive, send))


class OpenRequests:
    """Counts the requests of each address from their beginning to the end of their responses.

    A stream of events is a request that stays open. All of them are handled in one event loop.

    most: the number that one address may have.
    """

    def __init__(self, most: int):
        self.most = most
        self._open: Counter[str] = Counter()

    @contextmanager
    def one(self, address: str) -> Iterator[None]:
        """Counts a request within the `with`. Raises Refusal if its address has too many."""
        if self._open[address] >= self.most:
            raise Refusal(
                429,
                f"{self.most} requests from your address are open, which is all that it may have; close some "
                "tabs of this page, or wait until others are answered.",
                {"Retry-After": "10"},
            )
        self._open[address] += 1
        try:
            yield
        finally:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]


class WithoutQuery:
    """A handler that removes parameters of the query before another one."""

    def __init__(self, names: tuple[str, ...], handler: Handler):
        self.names, self.handler = names, handler

    async def __call__(self, request: PageRequest) -> None:
        request.drop_query(*self.names)
        await self.handler(request)


class OneAtATimePerAddress:
    """An ASGI application that serves one request per address at a time, for responses that are slow to make.

    A response is sent when it is complete, so a slow client does not delay other requests of its address.
    """

    def __init__(self, app: ASGIApp):
        self.app = app
        self._locks: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()

    async def __call__(self, request: PageRequest) -> None:
        response = BufferedSend(request.send)
        async with self._locks.setdefault(request.visitor.address, anyio.Lock()):
            await self.app(request.scope, request.receive, response)
        await response.flush()


class BufferedSend:
    """A `send` that collects a response, so that it can be read or replaced before it is sent."""

    def __init__(self, send: Send):
        self._send, self._messages = send, []

    async def __call__(self, message: Message) -> None:
        self._messages.append(message)

    @property
    def status(self) -> int:
        """The HTTP status; 500 if there is no response."""
        return self._messages[0]["status"] if self._messages else 500

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return [*self._messages[0]["headers"]]

    def replace(self, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Replaces the headers and the body. The status stays."""
        self._messages = [
            {**self._messages[0], "headers": headers},
            {"type": "http.response.body", "body": body, "more_body": False},
        ]

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(message.get("body", b"") for message in self._messages[1:])

    async def flush(self) -> None:
        """Sends the response."""
        for message in self._messages:
            await self._send(message)
