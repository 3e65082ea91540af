"""Whose turn it is: at each event the models know from where it was asked."""

import httpx
import pytest

from palm_demo.concurrency import client

CALL = "/gradio_api/call/bits_per_byte"


@pytest.fixture
def seen(session, monkeypatch):
    """Who asked, of each text that was scored."""
    found = []

    def noted(text, scope=None):
        found.append(client.get())
        return 1.0

    monkeypatch.setattr(session, "bits_per_byte", noted)
    return found


def ask(address: str, local: str) -> None:
    """One call from an address of the loopback, read to its end."""
    transport = httpx.HTTPTransport(local_address=local)
    with httpx.Client(base_url=address.rstrip("/"), transport=transport, timeout=60) as client:
        event = client.post(CALL, json={"data": ["a text", None]}).json()["event_id"]
        assert "complete" in client.get(f"{CALL}/{event}").text


def test_an_event_is_asked_by_the_address_it_comes_from(address, seen):
    for local in ("127.0.0.1", "127.0.0.2", "127.0.0.1"):
        ask(address, local)
    assert seen == ["127.0.0.1", "127.0.0.2", "127.0.0.1"]
    assert client.get() is None
