"""Responses of the page: security headers on all of them, and no server paths or tracebacks in any."""

import mimetypes
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from palm_demo.ui.boundary.files import Files
from palm_demo.ui.boundary.network import Network
from palm_demo.ui.boundary.timeouts import send_in_time

HUB = "https://huggingface.co https://*.huggingface.co https://*.hf.space"
"""Sites that may show a Space's page in a frame."""
POLICY = (
    "default-src 'self'; "
    # Gradio's page has inline scripts and styles, and evaluates the code of `js=` and of plots
    "script-src 'self' 'unsafe-inline' 'unsafe-eval' 'wasm-unsafe-eval' blob:; worker-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; font-src 'self' data:; img-src 'self' data: blob:; "
    "media-src 'self' data: blob:; connect-src 'self' data: blob:; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'self'{framers}"
)
FILE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'self'{framers}"
"""The policy for visitors' files: no scripts in them run."""
INLINE_IMAGES = frozenset(
    f"image/{kind}" for kind in ("png", "jpeg", "gif", "webp", "avif", "heic", "heif", "bmp", "tiff")
)
"""Kinds of images that browsers show. Other kinds, such as SVG, are downloaded."""
PATH_KINDS = (b"text/html", b"text/plain", b"text/event-stream", b"application/json")
"""Content types of responses that may contain paths."""


def refused(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    """A JSON response with a message, in which Gradio's page reads `error` and its clients `detail`."""
    return JSONResponse({"error": message, "detail": message}, status, headers)


def tool_error(number: object, message: str) -> Response:
    """An MCP response for a tool call that has failed. number: the id of the call."""
    content = [{"type": "text", "text": message}]
    return JSONResponse({"jsonrpc": "2.0", "id": number, "result": {"content": content, "isError": True}})


def file_response(path: Path) -> ASGIApp:
    """An ASGI application that sends a visitor's file. Browsers show images, video and audio only."""
    kind, _ = mimetypes.guess_type(path)
    inline = kind in INLINE_IMAGES or (kind or "").startswith(("video/", "audio/"))
    response = FileResponse(
        path,
        media_type=kind if inline else "application/octet-stream",
        filename=path.name,
        content_disposition_type="inline" if inline else "attachment",
        headers={"Cache-Control": "private, max-age=3600"},
    )

    async def send_file(scope: Scope, receive: Receive, send: Send) -> None:
        send.is_file = True
        await response(scope, receive, send)

    return send_file


class ResponseSend:
    """The `send` of one request: adds security headers, and holds server errors back so that `instead` can
    replace them.

    Args:
        send: of the server.
        scope: of the request.
        framed: whether sites of the Hub may show the page in a frame.
    """

    def __init__(self, send: Send, scope: Scope, framed: bool):
        self._send, self._scope = send, scope
        self._framers = f" {HUB}" if framed else ""
        self._cookies: list[bytes] = []
        self._held: list[Message] = []
        self._begun = False
        self.is_file = False

    def set_cookie(self, header: bytes) -> None:
        """Adds a Set-Cookie header to the response."""
        self._cookies = [header]

    async def __call__(self, message: Message) -> None:
        is_error = message["type"] == "http.response.start" and message["status"] >= 500
        if self._held or is_error:
            self._held.append(message)
            return
        if message["type"] == "http.response.start":
            self._begun = True
            self._add_headers(message)
        await self._send(message)

    async def end(self) -> None:
        """Sends a server error that was held back, if nothing has replaced it."""
        held, self._held = self._held, []
        if held and not self._begun:
            self._begun = True
            self._add_headers(held[0])
            for message in held:
                await self._send(message)

    async def instead(self, response: Response) -> None:
        """Sends another response, if none has begun. Otherwise the response breaks off, which the client sees
        because its end is missing."""
        self._held = []
        if self._begun:
            return
        await response(self._scope, _disconnected, self)
        await self.end()

    def _add_headers(self, message: Message) -> None:
        message["headers"] = [*message.get("headers", ())]
        headers = MutableHeaders(scope=message)
        policy = FILE_POLICY if self.is_file else POLICY
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "strict-origin-when-cross-origin"
        headers["Content-Security-Policy"] = policy.format(framers=self._framers)
        if self._cookies:
            headers["Cache-Control"] = "no-store"  # a cache must not give the cookie to others
        message["headers"] += [(b"set-cookie", cookie) for cookie in self._cookies]


async def _disconnected() -> Message:
    return {"type": "http.disconnect"}


class PublicApp:
    """An ASGI application that checks hosts and sets headers, for an application that takes no input."""

    def __init__(self, app: ASGIApp, network: Network):
        self.app, self.network = app, network

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        response = ResponseSend(send_in_time(send), scope, self.network.space)
        if (refusal := self.network.refusal(scope)) is not None:
            return await response.instead(refused(403, refusal))
        await self.app(scope, receive, response)
        await response.end()


class HidePaths:
    """ASGI middleware that replaces the path of the upload folder in all text responses; see `Files.hide`."""

    def __init__(self, app: ASGIApp, files: Files):
        self.app, self.files = app, files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        hides, start = False, None

        async def hiding(message: Message) -> None:
            nonlocal hides, start
            if message["type"] == "http.response.start":
                headers = dict(message.get("headers", ()))
                hides = headers.get(b"content-type", b"").startswith(PATH_KINDS)
                if hides and b"content-length" in headers:
                    start = message
                    return
            elif hides:
                message = {**message, "body": self.files.hide(message.get("body", b""))}
                if start is not None:
                    begun, start = start, None
                    await send(_with_length_of(message, begun))
            await send(message)

        await self.app(scope, receive, hiding)


def _with_length_of(body: Message, start: Message) -> Message:
    """The start of a response with the length of its body, if that is complete."""
    headers = MutableHeaders(raw=[*start["headers"]])
    if body.get("more_body", False):
        del headers["content-length"]
    else:
        headers["content-length"] = str(len(body["body"]))
    return {**start, "headers": headers.raw}
