"""How many connections and requests one address may have open, and who is not counted."""

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from types import SimpleNamespace

import pytest

from palm_demo.internals import http_protocol
from palm_demo.internals.http_protocol import Connections, PatientProtocol
from palm_demo.settings import load_settings
from palm_demo.ui.boundary.files import Files
from palm_demo.ui.boundary.guard import Guard
from palm_demo.ui.boundary.network import Network
from palm_demo.ui.boundary.timeouts import Listeners
from tests.ui.boundary import asked, run_apart, running

pytestmark = pytest.mark.usefixtures("unnamed")
FINE = b"HTTP/1.1 200 OK"


async def hello(scope, receive, send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


@pytest.fixture
def connect(monkeypatch) -> Iterator[Callable[[], socket.socket]]:
    """Opens connections, from an address of this machine, to a server that takes three of an address."""
    monkeypatch.setattr(http_protocol, "CONNECTIONS_OF_ONE", 3)
    monkeypatch.setattr(PatientProtocol, "by_address", Connections())
    with running(hello, http=PatientProtocol, lifespan="off") as address, ExitStack() as stack:
        port = int(address.rstrip("/").rpartition(":")[2])
        yield lambda source="127.0.0.1": stack.enter_context(
            socket.create_connection(("127.0.0.1", port), 60, (source, 0))
        )


def answer(connection: socket.socket) -> bytes:
    connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return connection.recv(1000).partition(b"\r\n")[0]


def is_refused(connection: socket.socket) -> bool:
    """Whether the server speaks first, to say that there is no room, and closes."""
    told = b""
    while piece := connection.recv(1000):
        told += piece
    return b" 503 " in told and told.endswith(b"close some of them.")


def test_one_address_has_so_many_connections_and_others_have_theirs(connect):
    held = [connect() for _ in range(3)]
    assert [answer(one) for one in held] == [FINE] * 3
    assert is_refused(connect())
    assert answer(connect("127.9.9.9")) == FINE


def test_a_connection_that_is_closed_makes_room(connect):
    held = [connect() for _ in range(3)]
    assert [answer(one) for one in held] == [FINE] * 3
    held[0].sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    while held[0].recv(1000):
        continue  # until the server has closed it
    assert answer(connect()) == FINE


def test_a_trusted_proxy_has_the_connections_of_many(connect, monkeypatch):
    monkeypatch.setenv("PALM_DEMO_PROXIES", "127.0.0.1")
    assert [answer(connect()) for _ in range(9)] == [FINE] * 9


@pytest.fixture
def guard(tmp_path) -> Guard:
    """The guard of a page that never ends a response, where one address may have three requests open."""

    async def streaming(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.Event().wait()

    page = SimpleNamespace(upload_quotas=None, dress=bytes)
    insides = SimpleNamespace(
        page=page, listeners=Listeners(), listens=lambda session: True, session_of=lambda event: event
    )
    limits = replace(load_settings().limits, requests_of_one=3)
    return Guard(streaming, insides, Files(tmp_path, 1000), limits, Network.of("0.0.0.0"), started=True)


def ask(guard: Guard, method: str, path: str, peer: str, sent: list[dict]) -> asyncio.Task:
    """A request to the guard that goes on. What is sent for it goes into a list."""
    scope = {**asked(peer), "method": method, "path": path, "query_string": b"session_hash=abc"}

    async def receive() -> dict:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict) -> None:
        sent.append(message)

    return asyncio.create_task(guard(scope, receive, send))


STREAMS = (
    "/gradio_api/queue/data",
    "/gradio_api/heartbeat/abc",
    "/gradio_api/call/generate/event",
    "/gradio_api/call/v2/generate/event",
    "/gradio_api/mcp/",
    "/static/a.js",
)
ANY = (*(("GET", path) for path in STREAMS), ("POST", "/gradio_api/mcp"), ("POST", "/gradio_api/upload"))
ANY += (("POST", "/gradio_api/queue/join"), ("GET", "/"), ("GET", "/nothing"))


@pytest.mark.parametrize("stream", STREAMS)
def test_one_address_has_so_many_open_requests_whatever_they_are(guard, stream):
    async def main() -> None:
        held: list[list[dict]] = [[] for _ in range(3)]
        streams = [ask(guard, "GET", stream, "203.0.113.1", sent) for sent in held]
        while not all(held):
            await asyncio.sleep(0)
        assert [sent[0]["status"] for sent in held] == [200] * 3
        for method, path in ANY:
            told: list[dict] = []
            await ask(guard, method, path, "203.0.113.1", told)
            assert told[0]["status"] == 429 and (b"retry-after", b"10") in told[0]["headers"], path
            assert "close some tabs" in json.loads(told[1]["body"])["error"]
        beside: list[list[dict]] = [[], []]
        others = [
            ask(guard, "GET", stream, "203.0.113.2", beside[0]),
            ask(guard, "GET", "/healthz", "203.0.113.1", beside[1]),
        ]
        while not all(beside):
            await asyncio.sleep(0)
        left = streams.pop()
        left.cancel()
        await asyncio.wait([left])
        again: list[dict] = []
        streams.append(ask(guard, "GET", stream, "203.0.113.1", again))
        while not again:
            await asyncio.sleep(0)
        assert [sent[0]["status"] for sent in (*beside, again)] == [200] * 3
        for one in (*streams, *others):
            one.cancel()

    run_apart(main())
