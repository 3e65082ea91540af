"""The page's parts that need no server: prompts, stops, uploads, settings."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from palm_demo.settings import load_settings
from palm_demo.ui.flamingo.interleaving import assemble, labelled
from palm_demo.ui.middleware import CALL_BYTES, Doorkeeper
from palm_demo.ui.stopping import Stops


@pytest.mark.parametrize(
    ("typed", "media", "prompt"),
    [
        ("Is there a cat?", 1, "<media> question: is there a cat? answer:"),
        ("Is there a cat?", 2, "<media> <media> question: is there a cat? answer:"),
        ("<media> Is there a cat?", 1, "<media> question: is there a cat? answer:"),
        ("<media> is a dax. <media> is a", 2, "<media> is a dax. <media> is a"),
        ("<media> caption:", 1, "<media> caption:"),
        ("caption:", 1, "<media> caption:"),
        ("once upon", 0, "once upon"),
    ],
)
def test_prompt_is_put_together_as_flamingo_learned_it(typed, media, prompt):
    assert assemble(typed, media) == prompt


def test_marks_have_the_names_of_their_media(media):
    files = [media / "red.png", media / "short.mp4"]
    assert labelled("<media> and <media> end", files) == [
        ("<media>", "picture 1"),
        (" and ", None),
        ("<media>", "video 2"),
        (" end", None),
    ]


def test_stop_reaches_the_stream_of_its_visitor_and_tab_alone():
    stops = Stops()
    mine, other_tab, other = stops.arm("me", "palm"), stops.arm("me", "flamingo"), stops.arm("you", "palm")
    stops.stop("me", "palm")
    assert mine.is_set() and not other_tab.is_set() and not other.is_set()


def test_stop_before_the_stream_begins_is_kept():
    stops = Stops()
    stops.arm("me", "palm")
    stops.stop("me", "palm")
    with stops.running("me", "palm") as event:
        assert event.is_set()


def test_new_stream_stops_the_earlier_one_and_outlives_its_end():
    stops = Stops()
    with stops.running("me", "palm") as earlier:
        later = stops.arm("me", "palm")
        assert earlier.is_set()
    with stops.running("me", "palm") as event:
        assert event is later


def test_leaving_stops_all_of_a_visitor():
    stops = Stops()
    events = [stops.arm("me", "palm"), stops.arm("me", "flamingo")]
    stops.leave("me")
    assert all(event.is_set() for event in events)


def post(doorkeeper: Doorkeeper, path: str, body: bytes = b"") -> int:
    """The status that a POST is answered with."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "headers": [], "client": ("127.0.0.1", 1)}
    # In a thread of its own: the browser of other tests keeps an event loop running in this one.
    with ThreadPoolExecutor(1) as executor:
        executor.submit(asyncio.run, doorkeeper(scope, receive, send)).result()
    return sent[0]["status"]


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
def doorkeeper(clock):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    return Doorkeeper(app, load_settings().limits, clock=lambda: clock[0])


def test_uploads_too_often_are_told_to_wait(doorkeeper, clock):
    allowed = doorkeeper.limits.uploads_per_minute
    assert [post(doorkeeper, "/gradio_api/upload") for _ in range(allowed)] == [200] * allowed
    assert post(doorkeeper, "/gradio_api/upload") == 429
    clock[0] = 61.0
    assert post(doorkeeper, "/gradio_api/upload") == 200


def test_calls_with_links_or_too_much_text_are_refused(doorkeeper):
    def call(file):
        return post(doorkeeper, "/gradio_api/queue/join", json.dumps({"data": [[file]]}).encode())

    assert call({"path": "/tmp/uploads/cat.png", "url": "http://127.0.0.1:7860/file=/tmp/cat.png"}) == 200
    assert call({"path": "https://example.com/cat.png"}) == 400
    assert call({"path": None, "url": "data:image/png;base64,AAAA"}) == 400
    assert post(doorkeeper, "/gradio_api/queue/join", b"x" * (CALL_BYTES + 1)) == 413
