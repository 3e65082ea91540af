"""What is left on the page of streams that were stopped, without a server."""

from collections.abc import Callable
from types import SimpleNamespace

import gradio as gr
import pytest

from palm_demo.inference.decoding import QueuePosition
from palm_demo.settings import load_settings
from palm_demo.ui.deep_links import SettingsLinks
from palm_demo.ui.palm.authors import authors_tab
from palm_demo.ui.palm.compare import compare_tab
from palm_demo.ui.palm.complete import writing_tab
from palm_demo.ui.palm.user_adapters import UserAdapters
from palm_demo.ui.streaming import Stops

REQUEST = SimpleNamespace(session_hash="visitor")
SAMPLING = (8, 1.0, 0, 1.0, 0.0, 1.0, 3, "")


@pytest.fixture
def session() -> SimpleNamespace:
    """A PaLM whose queue is never served: a stream tells its place, and ends when it is stopped."""

    def stream(prompt, scope, *, cancelled, **settings):
        yield QueuePosition(2)
        cancelled.wait(60)

    return SimpleNamespace(scopes=["poe", "doyle"], stream=stream, bits_per_byte=lambda text, scope: 2.0)


def stream_of(build: Callable, session, *parts) -> Callable:
    """The stream of a sub-tab of PaLM's."""
    limits = load_settings().limits
    with gr.Blocks() as page, gr.Tabs(), gr.Tab("A tab", id="a-tab"):
        build(session, limits, *parts, UserAdapters(session, limits))
    stream, *_ = (one.fn for one in page.fns.values() if getattr(one.fn, "__name__", "") == "stream")
    return stream


@pytest.mark.parametrize(
    ("build", "tab", "inputs"),
    [
        (writing_tab, "palm", ("Once", "base", 1.0, "base", 1.0)),
        (compare_tab, "palm-columns", ("Once", ["poe"])),
    ],
)
def test_the_place_in_the_queue_goes_when_a_waiting_stream_is_stopped(session, build, tab, inputs):
    stops = Stops()
    stream = stream_of(build, session, stops, SettingsLinks())
    shown = []
    for update in stream(REQUEST, *inputs, *SAMPLING):
        shown.append(update[-1])
        if "Place 2 in line" in update[-1]["value"]:
            stops.stop("visitor", tab)
    assert any("Place 2 in line" in line["value"] for line in shown)
    assert shown[-1]["value"] == "" and shown[-1]["visible"] == "hidden"


def test_reading_for_an_author_says_when_it_was_stopped(session):
    stops = Stops()
    said = []
    for _, message in stream_of(authors_tab, session, stops)(REQUEST, "A text by somebody."):
        said.append(message)
        stops.stop("visitor", "palm-authors")
    assert said == ["Reading as Plain PaLM …", "Stopped."]
