"""Sixteen visitors of a page whose models are on two replicas, one of which is killed."""

import json
import os
import signal
import socket
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from gradio_client import Client, handle_file
from PIL import Image

from tests.serving.conftest import PATIENCE_SECONDS, until

pytestmark = pytest.mark.ray

VISITORS = 16
PROMPT = "It was a dark night, and"
NEW = 24


def call(address: str, endpoint: str, *data) -> tuple[str, object]:
    """How a named endpoint's call ends ("complete" or "error") and with what; each is a visitor's own."""
    at, body = f"{address}/gradio_api/call/{endpoint}", json.dumps({"data": data}).encode()
    asked = urllib.request.Request(at, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked) as answer:
        event = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{at}/{event}") as lines:
        said = [line.decode().rstrip("\n").partition(": ") for line in lines if line.strip()]
    last = dict((name, value) for name, _, value in said[-2:])
    return last["event"], json.loads(last["data"])


def generate(address: str, seed: int) -> tuple[str, object]:
    return call(address, "generate", PROMPT, None, NEW, 0.7, 0, 0.9, 1.1, [], seed)


def test_the_page_is_there(address, session):
    with urllib.request.urlopen(f"{address}/healthz") as answer:
        assert answer.read() == b"ok"
    with urllib.request.urlopen(address) as answer:
        assert b"PaLM, Flamingo and MaMMUT" in answer.read()
    assert call(address, "scopes") == ("complete", [session.scopes])


def test_half_a_request_to_rays_proxy_is_closed(address):
    where = urlsplit(address)
    with socket.create_connection((where.hostname, where.port), PATIENCE_SECONDS) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        assert connection.recv(1000) == b""


def test_an_upload_is_seen_by_a_replica(address, session, tmp_path):
    picture = tmp_path / "red.png"
    Image.new("RGB", (64, 64), "red").save(picture)
    client = Client(address, verbose=False)
    assert client.predict(handle_file(picture), api_name="/caption") == session.caption(picture)


def test_of_a_replica_that_is_killed_only_its_visitors_hear(address, session, gate):
    expected = [
        session.generate(PROMPT, max_new_tokens=NEW, temperature=0.7, top_p=0.9, seed=seed)
        for seed in range(VISITORS)
    ]
    gate.shut()
    with ThreadPoolExecutor(VISITORS) as visitors:
        calls = [visitors.submit(generate, address, seed) for seed in range(VISITORS)]
        until(lambda: len(gate.writers()) == VISITORS)
        writers = gate.writers()
        assert len(set(writers.values())) == 2
        killed = writers[0]
        os.kill(killed, signal.SIGKILL)
        gate.open()
        ended = [call.result() for call in calls]
    for seed, (how, said) in enumerate(ended):
        if writers[seed] == killed:
            assert how == "error" and "went away" in said["error"] and "try again" in said["error"]
        else:
            assert (how, said) == ("complete", [expected[seed]])
    with ThreadPoolExecutor(VISITORS) as visitors:
        again = list(visitors.map(lambda seed: generate(address, seed), range(VISITORS)))
    assert again == [("complete", [text]) for text in expected]
