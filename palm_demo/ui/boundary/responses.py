"""What every answer says of itself, and what none says: server paths and tracebacks."""

import mimetypes
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from palm_demo.ui.boundary.files import Files
from palm_demo.ui.boundary.network import Network
from palm_demo.ui.boundary.timeouts import send_in_time

HUB = "https://huggingface.co https://*.huggingface.co https://*.hf.space"
"""Where a Space's page is framed."""
POLICY = (
    "default-src 'self'; "
    # Gradio's page has scripts and styles in it, and makes functions of the texts of `js=` and of plots
    "script-src 'self' 'unsafe-inline' 'unsafe-eval' 'wasm-unsafe-eval' blob:; worker-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; font-src 'self' data:; img-src 'self' data: blob:; "
    "media-src 'self' data: blob:; connect-src 'self' data: blob:; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'self'{framers}"
)
FILE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'self'{framers}"
"""Of what visitors upload nothing runs."""
SHOWN_AT_ONCE = frozenset(
    f"image/{kind}" for kind in ("png", "jpeg", "gif", "webp", "avif", "heic", "heif", "bmp", "tiff")
)
HIDING = (b"text/html", b"text/plain", b"text/event-stream", b"application/json")
"""Kinds of answers in which paths may stand."""


def refused(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    """An answer in Gradio's form for its page and in FastAPI's for its clients."""
    return JSONResponse({"error": message, "detail": message}, status, headers)


def tool_error(number: object, message: str) -> Response:
    """An assistant's call that has failed, as MCP says it."""
    content = [{"type": "text", "text": message}]
    return JSONResponse({"jsonrpc": "2.0", "id": number, "result": {"content": content, "isError": True}})


def file_response(path: Path) -> ASGIApp:
    """A visitor's file. What a browser could run, or take for a page, is handed over as a download."""
    kind, _ = mimetypes.guess_type(path)
    inline = kind in SHOWN_AT_ONCE or (kind or "").startswith(("video/", "audio/"))
    response = FileResponse(
        path,
        media_type=kind if inline else "application/octet-stream",
        filename=path.name,
        content_disposition_type="inline" if inline else "attachment",
        headers={"Cache-Control": "private, max-age=3600"},
    )

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        send.is_file = True
        await response(scope, receive, send)

    return answer


class ResponseSend:
    """The `send` of one request: adds headers, and holds an error back until it is known what came of it."""

    def __init__(self, send: Send, scope: Scope, framed: bool):
        self._send, self._scope = send, scope
        self._framers = f" {HUB}" if framed else ""
        self._cookies: list[bytes] = []
        self._held: list[Message] = []
        self._begun = False
        self.is_file = False

    def set_cookie(self, header: bytes) -> None:
        self._cookies = [header]

    async def __call__(self, message: Message) -> None:
        is_error = message["type"] == "http.response.start" and message["status"] >= 500
        if self._held or is_error:
            self._held.append(message)
            return
        if message["type"] == "http.response.start":
            self._begun = True
            self._complete(message)
        await self._send(message)

    async def end(self) -> None:
        """Lets an error go out that the application meant."""
        held, self._held = self._held, []
        if held and not self._begun:
            self._begun = True
            self._complete(held[0])
            for message in held:
                await self._send(message)

    async def instead(self, response: Response) -> None:
        """Answers with something else, if nothing has gone out yet; otherwise the answer breaks off, which
        the client sees by its end."""
        self._held = []
        if self._begun:
            return
        await response(self._scope, _nothing_comes, self)
        await self.end()

    def _complete(self, message: Message) -> None:
        message["headers"] = [*message.get("headers", ())]
        headers = MutableHeaders(scope=message)
        policy = FILE_POLICY if self.is_file else POLICY
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "strict-origin-when-cross-origin"
        headers["Content-Security-Policy"] = policy.format(framers=self._framers)
        if self._cookies:
            headers["Cache-Control"] = "no-store"  # nobody else's answer brings this visitor's cookie
        message["headers"] += [(b"set-cookie", cookie) for cookie in self._cookies]


async def _nothing_comes() -> Message:
    return {"type": "http.disconnect"}


class PublicApp:
    """ASGI application in front of one that takes nothing from visitors: checks hosts and sets headers."""

    def __init__(self, app: ASGIApp, network: Network):
        self.app, self.network = app, network

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        answer = ResponseSend(send_in_time(send), scope, self.network.space)
        if (refusal := self.network.refusal(scope)) is not None:
            return await answer.instead(refused(403, refusal))
        await self.app(scope, receive, answer)
        await answer.end()


class HidePaths:
    """ASGI middleware: texts that leave the page name the upload folder by another name."""

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
                hides = headers.get(b"content-type", b"").startswith(HIDING)
                if hides and b"content-length" in headers:
                    start = message
                    return
            elif hides:
                message = {**message, "body": self.files.hide(message.get("body", b""))}
                if start is not None:
                    begun, start = start, None
                    await send(_as_long_as(message, begun))
            await send(message)

        await self.app(scope, receive, hiding)


def _as_long_as(body: Message, start: Message) -> Message:
    headers = MutableHeaders(raw=[*start["headers"]])
    if body.get("more_body", False):
        del headers["content-length"]
    else:
        headers["content-length"] = str(len(body["body"]))
    return {**start, "headers": headers.raw}
