"""The Hub of the tests as a server: requests to their answers, refusals as the real Hub words them."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from urllib.parse import unquote, urlsplit

from tests.hub import models, spaces, uploads
from tests.hub.state import ROUTES, Hub, Refused, Reply, Request

assert models and spaces and uploads, "imported for the routes that they add"


def _answer(hub: Hub, asked: Request) -> tuple[int, Reply]:
    """Status and reply."""
    try:
        made = _route(hub, asked)
    except Refused as refused:
        headers = {"X-Error-Message": refused.message, "X-Error-Code": refused.code}
        return refused.status, _document(refused.document, headers)
    return 200, made if isinstance(made, Reply) else _document(made, {})


def _document(made: object, headers: dict[str, str]) -> Reply:
    return Reply(json.dumps(made).encode(), {"Content-Type": "application/json", **headers})


def _route(hub: Hub, asked: Request) -> object:
    if (asked.method, asked.path) in hub.refusals:
        raise hub.refusals[asked.method, asked.path]
    for method, pattern, answer in ROUTES:
        if method == asked.method and (found := pattern.fullmatch(asked.path)):
            # the address of what is stored is its key
            public = answer in (models.described, models.sent, uploads.store)
            if asked.token not in hub.tokens and not public:
                raise Refused(401, "Invalid credentials in Authorization header")
            return answer(hub, asked, **found.groupdict())
    raise Refused(404, f"{asked.method} {asked.path} is nothing that this Hub knows", "EntryNotFound")


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    numbers = count(1)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            token = self.headers.get("Authorization", "").removeprefix("Bearer ") or None
            asked = Request(self.command, unquote(urlsplit(self.path).path), self.read_body(), token)
            with hub.lock:
                hub.requests.append(asked)
                status, reply = _answer(hub, asked)
            self.send_response(status)
            size = {"Content-Length": str(len(reply.body)), "X-Request-Id": str(next(numbers))}
            for name, value in {**size, **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if asked.method == "HEAD":
                return
            if not reply.stalls:
                self.wfile.write(reply.body)
                return
            first = len(hub.asked("GET", asked.path)) == 1
            self.wfile.write(reply.body[: len(reply.body) // 2] if first else b"")
            self.close_connection = True
            hub.closing.wait()

        do_HEAD = do_GET = do_POST = do_PUT = do_DELETE = answer

        def read_body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def log_message(self, *_) -> None:
            """Says nothing: tests look at `hub.requests`."""

    return Handler


@contextmanager
def serve() -> Iterator[Hub]:
    """A Hub that answers on a free port of 127.0.0.1 until the `with` is left."""
    hub = Hub()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub)) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.closing.set()
            server.shutdown()
            thread.join()
