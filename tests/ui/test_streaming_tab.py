"""Buttons that begin and stop streams belong to the newest one, and what cannot be asked stops nothing."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import gradio as gr
import pytest

from palm_demo.errors import PromptError
from palm_demo.inference.prompts import OURS
from palm_demo.settings import load_settings
from palm_demo.ui import messages
from palm_demo.ui.deep_links import SettingsLinks
from palm_demo.ui.flamingo import tab as flamingo
from palm_demo.ui.palm.complete import writing_tab
from palm_demo.ui.palm.user_adapters import UserAdapters
from palm_demo.ui.streaming import Stops, StreamingTab

REQUEST = SimpleNamespace(session_hash="visitor")
TAB = "a-tab"


def check(prompt: str) -> None:
    if not prompt:
        raise PromptError("the prompt is empty")


def tell(request, cancelled, prompt: str) -> Iterator[tuple[str, str]]:
    """Says the prompt until it is stopped, and then that it was."""
    while not cancelled.is_set():
        yield prompt, "goes on"
    yield prompt, "stopped"


class Chain:
    """The events of one way to begin a stream, called as Gradio calls them."""

    def __init__(self, page: gr.Blocks, begun_by: int):
        self.page = page
        self.arm = page.fns[begun_by].fn
        self._stream = self._after(begun_by)
        self.stream = self._stream.fn

    def _after(self, number: int, failure: bool = False):
        (found,) = (
            one
            for one in self.page.fns.values()
            if one.trigger_after == number and one.trigger_only_on_failure == failure
        )
        return found

    def end(self, failure: bool = False) -> list[bool | None]:
        """Which buttons are on afterwards; None for those that stay as they are."""
        return on(self._after(self._stream._id, failure).fn(REQUEST))


def on(updates: list[dict]) -> list[bool | None]:
    return [update.get("interactive") for update in updates]


def begun_by(page: gr.Blocks, button: gr.Button) -> int:
    """The number of the event that a press of a button begins."""
    (found,) = (one for one in page.fns.values() if (button._id, "click") in one.targets)
    return found._id


@pytest.fixture
def stops() -> Stops:
    return Stops()


@pytest.fixture
def ways(stops) -> tuple[Chain, Chain]:
    """Two ways to begin a stream in one tab, with two buttons that stop it."""
    with gr.Blocks() as page:
        prompt, said, state = gr.Textbox(), gr.Textbox(), gr.Textbox()
        runs, ends = [gr.Button(), gr.Button()], [gr.Button(), gr.Button()]
        tab = StreamingTab(TAB, stops, runs, ends)
        for run in runs:
            tab.wire(run.click, tell, [prompt], [said, state], check)
    one, other = (Chain(page, begun_by(page, run)) for run in runs)
    return one, other


@pytest.fixture
def warned(monkeypatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(messages, "warn", said.append)
    return said


BUSY, IDLE, AS_THEY_ARE = [False, False, True, True], [True, True, False, False], [None] * 4


def test_the_end_of_a_stream_that_was_interrupted_leaves_stop_to_the_newer_one(ways, stops):
    one, other = ways
    assert on(one.arm(REQUEST, "first")) == BUSY
    first = one.stream(REQUEST, "first")
    assert next(first) == ("first", "goes on")
    assert on(other.arm(REQUEST, "second")) == BUSY
    assert [*first] == []  # nor is shown what it still says
    assert one.end() == AS_THEY_ARE
    second = other.stream(REQUEST, "second")
    assert next(second) == ("second", "goes on")
    stops.stop("visitor", TAB)
    assert [*second] == [("second", "stopped")]
    assert other.end() == IDLE


def test_a_stream_that_was_interrupted_before_it_began_never_begins(ways):
    one, other = ways
    one.arm(REQUEST, "first")
    other.arm(REQUEST, "second")
    assert [*one.stream(REQUEST, "first")] == []
    assert one.end() == AS_THEY_ARE
    assert next(other.stream(REQUEST, "second")) == ("second", "goes on")


def test_a_stream_that_is_interrupted_by_its_own_way_leaves_stop_to_the_newer_one(ways):
    one, _ = ways
    one.arm(REQUEST, "first")
    first = one.stream(REQUEST, "first")
    next(first)
    one.arm(REQUEST, "second")
    assert [*first] == []
    assert one.end() == AS_THEY_ARE
    assert next(one.stream(REQUEST, "second")) == ("second", "goes on")


def test_what_cannot_be_asked_is_explained_and_stops_nothing(ways, warned):
    one, _ = ways
    one.arm(REQUEST, "first")
    first = one.stream(REQUEST, "first")
    next(first)
    for way in ways:
        with pytest.raises(gr.Error) as raised:
            way.arm(REQUEST, "")
        assert not raised.value.visible
    assert warned == ["The prompt is empty."] * 2
    assert next(first) == ("first", "goes on")


def test_buttons_are_free_again_after_a_stream_that_could_not_begin(ways):
    one, other = ways
    one.arm(REQUEST, "first")
    assert one.end(failure=True) == IDLE
    other.arm(REQUEST, "second")
    running = other.stream(REQUEST, "second")
    next(running)
    assert one.end(failure=True) == AS_THEY_ARE
    assert next(running) == ("second", "goes on")


def arms(page: gr.Blocks, *names: str) -> list[Callable]:
    """The events before the streams of these handlers."""
    streams = (one for one in page.fns.values() if getattr(one.fn, "__name__", "") in names)
    return [page.fns[one.trigger_after].fn for one in streams]


SAMPLING = (8, 1.0, 0, 1.0, 0.0, 1.0, 3, "")


def test_an_empty_question_to_flamingo_stops_no_answer_however_it_is_asked(
    stops, warned, tmp_path, monkeypatch
):
    monkeypatch.setattr(flamingo, "is_quick", lambda session: False)
    session = SimpleNamespace(
        bundled=True,
        flamingo=SimpleNamespace(form=OURS, pictures_of_video=None, context=512),
    )
    with gr.Blocks() as page:
        flamingo.flamingo_tab(session, load_settings().limits, stops, SettingsLinks(), tmp_path)
    running = stops.arm("visitor", flamingo.TAB)
    asked = arms(page, "ask")
    assert len(asked) == 3  # by the button, with Enter, and by a question to press
    for arm in asked:
        with pytest.raises(gr.Error):
            arm(REQUEST, [], " ", [], [], False, *SAMPLING)
    (after,) = arms(page, "ask_after")
    with pytest.raises(gr.Error):
        after(REQUEST, [], None, [], *SAMPLING)
    assert len(warned) == 4 and not running.is_set()
    asked[0](REQUEST, [], "once upon a time", [], [], False, *SAMPLING)
    assert running.is_set()


def test_an_empty_beginning_stops_no_text_of_palm(stops, warned):
    session, limits = SimpleNamespace(scopes=["poe"]), load_settings().limits
    with gr.Blocks() as page, gr.Tabs(), gr.Tab("A tab", id="a-tab"):
        writing_tab(session, limits, stops, SettingsLinks(), UserAdapters(session, limits))
    running = stops.arm("visitor", "palm")
    for arm in arms(page, "stream"):
        with pytest.raises(gr.Error):
            arm(REQUEST, " ", "base", 1.0, "base", 1.0, *SAMPLING)
    assert len(warned) == 2 and not running.is_set()
