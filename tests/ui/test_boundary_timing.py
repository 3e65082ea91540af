"""Requests and answers in time: timeouts, one page at a time for an address, and the loading page."""

import asyncio
from collections import Counter
from types import SimpleNamespace

import pytest

from palm_demo.ui.boundary import timeouts
from palm_demo.ui.boundary.network import Network
from palm_demo.ui.boundary.requests import OneAtATimePerAddress
from palm_demo.ui.boundary.responses import PublicApp
from tests.ui.boundary import asked, run_apart

pytestmark = pytest.mark.usefixtures("unnamed")


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(timeouts, "BODY_SECONDS", 0.05)

    async def never():
        await asyncio.Event().wait()

    with pytest.raises(timeouts.ClientTimeout):
        run_apart(timeouts.receive_in_time(never)())


def test_a_client_may_listen_as_long_as_it_likes(monkeypatch):
    monkeypatch.setattr(timeouts, "BODY_SECONDS", 0.0)
    messages = [{"type": "http.disconnect"}, {"type": "http.request", "body": b"", "more_body": False}]

    async def ask() -> list[str]:
        async def receive():
            return messages.pop()

        receive = timeouts.receive_in_time(receive)
        return [(await receive())["type"] for _ in range(2)]

    assert run_apart(ask()) == ["http.request", "http.disconnect"]


def test_an_answer_that_nobody_takes_is_not_held_for_ever(monkeypatch):
    monkeypatch.setattr(timeouts, "RECEIVE_SECONDS", 0.05)

    async def stuck(message):
        await asyncio.Event().wait()

    with pytest.raises(timeouts.ClientTimeout):
        run_apart(timeouts.send_in_time(stuck)({"type": "http.response.body"}))


def test_the_loading_page_answers_its_own_hosts_with_headers():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"soon"})

    def answered(**headers: str) -> dict:
        sent = []

        async def send(message):
            sent.append(message)

        scope = {**asked(**headers), "method": "GET", "path": "/"}
        run_apart(PublicApp(app, Network.of("127.0.0.1"))(scope, None, send))
        return sent[0]

    assert answered()["status"] == 200
    assert dict(answered()["headers"])[b"x-content-type-options"] == b"nosniff"
    assert answered(host="evil.example")["status"] == 403


def test_pages_are_made_one_after_another_for_an_address_and_slow_takers_hold_up_nobody():
    at_once, most, taken = Counter(), Counter(), []

    async def app(scope, receive, send):
        address = scope["address"]
        at_once[address] += 1
        most[address] = max(most[address], at_once[address])
        await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"page"})
        at_once[address] -= 1

    async def main() -> None:
        gate, go = OneAtATimePerAddress(app), asyncio.Event()

        def asked(address: str, slow: bool = False) -> SimpleNamespace:
            async def send(message) -> None:
                if slow:
                    await go.wait()
                taken.append((address, message["type"]))

            visitor = SimpleNamespace(address=address)
            return SimpleNamespace(visitor=visitor, scope={"address": address}, receive=None, send=send)

        slow = asyncio.create_task(gate(asked("a", slow=True)))
        await asyncio.gather(*(gate(asked(address)) for address in "aaabb"))
        assert len(taken) == 10
        go.set()
        await slow

    run_apart(main())
    assert most == {"a": 1, "b": 1} and len(taken) == 12
