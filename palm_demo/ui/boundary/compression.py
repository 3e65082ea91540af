"""Compresses the page and its configuration with Brotli. Event streams are not compressed."""

from collections.abc import Callable
from functools import partial

import anyio
import brotli
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

from palm_demo.ui.boundary.requests import BufferedSend

QUALITY = 5
"""Brotli's quality. 5 takes 20 ms and makes the page 11 times smaller; 9 would save another 3 %."""
FEWEST_BYTES = 1_000
"""Smaller responses are not compressed, because they fit into one packet."""
COMPRESSED_KINDS = ("text/html", "application/json")
HTML = "text/html"

Dress = Callable[[bytes], bytes]
"""A function that changes the HTML of the page."""


class Compression:
    """An ASGI application that compresses the responses of another one, if the client accepts Brotli.

    dress: changes the HTML of the page before it is compressed.
    """

    def __init__(self, app: ASGIApp, dress: Dress):
        self.app, self.dress = app, dress

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = BufferedSend(send)
        await self.app(scope, receive, response)
        if response.status == 200:
            accepts_brotli = "br" in Headers(scope=scope).get("accept-encoding", "")
            await anyio.to_thread.run_sync(partial(self._compress, response, accepts_brotli))
        await response.flush()

    def _compress(self, response: BufferedSend, accepts_brotli: bool) -> None:
        headers = MutableHeaders(raw=response.headers)
        kind = headers.get("content-type", "").partition(";")[0]
        if kind not in COMPRESSED_KINDS or "content-encoding" in headers:
            return
        body = self.dress(response.body) if kind == HTML else response.body
        if len(body) >= FEWEST_BYTES:
            headers.add_vary_header("Accept-Encoding")
            if accepts_brotli:
                body = brotli.compress(body, quality=QUALITY)
                headers["Content-Encoding"] = "br"
        headers["Content-Length"] = str(len(body))
        response.replace(headers.raw, body)
