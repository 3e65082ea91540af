"""The guard of a page that is served: nobody hears, stops or enters another's session."""

import threading

import httpx
import pytest

from palm_demo.errors import LeftError
from tests.ui.boundary import ended_well, heard, join, number_of, write


@pytest.mark.slow
def test_anothers_session_is_neither_heard_nor_stopped(visitor, other, config, address):
    event = write(visitor, config, "victim")
    number = number_of(config, "generate")
    with httpx.Client(base_url=address) as nobody:
        for stranger in (other, nobody):
            listening = stranger.get("gradio_api/queue/data", params={"session_hash": "victim"})
            assert listening.status_code == 404
            assert stranger.get(f"gradio_api/call/generate/{event}").status_code == 404
            for session in ("victim", "own"):
                body = {"session_hash": session, "fn_index": number, "event_id": event}
                assert stranger.post("gradio_api/cancel", json=body).status_code == 404
            with stranger.stream("GET", "gradio_api/heartbeat/victim") as beating:
                assert beating.status_code == 200
            deep = stranger.get("gradio_api/deep_link", params={"session_hash": "victim"})
            assert deep.status_code == 404
    assert ended_well(heard(visitor, "victim"))


@pytest.mark.parametrize("road", ["call", "queue"])
def test_what_is_computed_for_who_leaves_ends(road, visitor, config, session, monkeypatch):
    """A long scoring, of which the client stops to wait for the answer."""
    ended, who_wrote = [], session.who_wrote

    def noting(*told):
        begun.set()
        try:
            for _ in range(100):  # it goes on until its client has left, however fast the machine is
                answer = who_wrote(*told)
            return answer
        except Exception as error:
            ended.append(type(error))
            raise
        finally:
            over.set()

    begun, over = threading.Event(), threading.Event()
    monkeypatch.setattr(session, "who_wrote", noting)
    text = "It was a dark night, and the old man went down to the sea. " * 250
    if road == "call":
        event = visitor.post("gradio_api/call/who_wrote", json={"data": [text]}).json()["event_id"]
        stream = ("gradio_api/call/who_wrote/" + event, {})
    else:
        assert join(visitor, config, "leaver", "who_wrote", text).status_code == 200
        stream = ("gradio_api/queue/data", {"session_hash": "leaver"})
    with visitor.stream("GET", stream[0], params=stream[1]) as listening:
        assert listening.status_code == 200 and begun.wait(60)
    assert over.wait(60) and ended == [LeftError]
    assert session.turns.inside == 0


def test_a_visitor_cancels_an_event_of_their_own(visitor, config):
    event = write(visitor, config, "mine")
    body = {"session_hash": "mine", "fn_index": number_of(config, "generate"), "event_id": event}
    assert visitor.post("gradio_api/cancel", json=body).status_code == 200


def test_who_keeps_no_cookies_is_answered_all_the_same(address, config):
    with httpx.Client(base_url=address) as first:
        write(first, config, "no-cookies", 3)
    with httpx.Client(base_url=address) as again:
        assert ended_well(heard(again, "no-cookies"))
    body = {"data": ["The night was", None, 3, 0.0, 0, 0.9, 1.1, [], 7]}
    started = httpx.post(f"{address}gradio_api/call/generate", json=body).json()["event_id"]
    assert "event: complete" in httpx.get(f"{address}gradio_api/call/generate/{started}").text


def test_who_first_comes_by_a_call_gets_a_cookie_that_alone_opens_its_session(address, config):
    with httpx.Client(base_url=address) as newcomer:
        write(newcomer, config, "newcomer", 3)
        assert len(newcomer.cookies) == 1
        assert ended_well(heard(newcomer, "newcomer"))
        write(newcomer, config, "newcomer", 3)
        stranger = httpx.get(f"{address}gradio_api/queue/data", params={"session_hash": "newcomer"})
        assert stranger.status_code == 404


@pytest.mark.parametrize("name", ["/etc/passwd", "a b", "", "x" * 65, 7, None, ["a"], "../x", "a\0b"])
def test_a_session_has_a_plain_name(visitor, config, name):
    assert join(visitor, config, name, "scopes").status_code == 422
