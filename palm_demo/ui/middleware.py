"""What may come over the wire: how many uploads, how large, and no links to fetch.

Gradio limits the size of one file only, and downloads any link that stands where a file is
expected; this page makes no request of its own.
"""

import json
import time
from collections import deque
from collections.abc import Callable, Iterator

from starlette.formparsers import MultiPartException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from palm_demo.settings import Limits

WINDOW_SECONDS = 60
ADDRESSES = 10_000
"""Addresses remembered at once; the oldest go first."""
CALL_BYTES = 1_000_000
"""A call carries text and the names of files, never the files."""


class Doorkeeper:
    """ASGI middleware: 429 for uploads too often, 413 for bodies too large, 400 for links."""

    def __init__(self, app: ASGIApp, limits: Limits, clock: Callable[[], float] = time.monotonic):
        self.app, self.limits, self.clock = app, limits, clock
        self.uploads: dict[str, deque[float]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return await self.app(scope, receive, send)
        if scope["path"].rstrip("/").endswith("/upload"):
            return await self._upload(scope, receive, send)
        return await self._call(scope, receive, send)

    async def _upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._in_time((scope.get("client") or ("unknown", 0))[0]):
            refusal = f"More than {self.limits.uploads_per_minute} uploads in a minute; wait a moment."
            response = _refuse(429, refusal, {"Retry-After": str(WINDOW_SECONDS)})
            return await response(scope, receive, send)
        allowed = self.limits.media * self.limits.upload_bytes
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > allowed:
                # Gradio's parser removes its temporary files on this error, and answers 413
                raise MultiPartException(
                    f"The files exceed the maximum allowed size of {allowed} bytes together."
                )
            return message

        await self.app(scope, counted, send)

    def _in_time(self, address: str) -> bool:
        now = self.clock()
        times = self.uploads.pop(address, deque())
        self.uploads[address] = times  # last in the dict: the latest
        while len(self.uploads) > ADDRESSES:
            del self.uploads[next(iter(self.uploads))]
        while times and now - times[0] > WINDOW_SECONDS:
            times.popleft()
        if len(times) >= self.limits.uploads_per_minute:
            return False
        times.append(now)
        return True

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > CALL_BYTES:
                return await _refuse(413, f"A call can have {CALL_BYTES} bytes at most.")(
                    scope, receive, send
                )
        if any(_is_link(file) for file in _objects(body)):
            refusal = "This page fetches no links; download the file and upload it."
            return await _refuse(400, refusal)(scope, receive, send)
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replayed() -> Message:
            return whole.pop() if whole else await receive()

        await self.app(scope, replayed, send)


def _refuse(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": message, "detail": message}, status, headers)


def _objects(body: bytes) -> Iterator[dict]:
    """All objects of a JSON body, at any depth; none of a body of another kind."""
    try:
        waiting = [json.loads(body)]
    except (ValueError, RecursionError):
        return
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
            yield value


def _is_link(file: dict) -> bool:
    """Whether Gradio would fetch or unpack it: uploads have a local path, and a url of this page."""
    path, url = str(file.get("path") or ""), str(file.get("url") or "")
    return path.lower().startswith(("http:", "https:", "data:")) or url.lower().startswith("data:")
