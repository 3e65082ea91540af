"""The sub-tab "Side by side": one prompt, continued by the base model and up to three scopes at once."""

import random
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import gradio as gr

from palm_demo.errors import ScopeError
from palm_demo.inference.decoding import QueuePosition
from palm_demo.session import CONTINUED, Session
from palm_demo.settings import Limits
from palm_demo.ui.components import sampling_controls, sampling_settings, shared_sampling
from palm_demo.ui.deep_links import SettingsLinks
from palm_demo.ui.palm.complete import NO_VOICES
from palm_demo.ui.palm.user_adapters import UserAdapters
from palm_demo.ui.palm.voices import BASE, MOST_DIFFERENT, PLAIN, shown_name
from palm_demo.ui.streaming import Stops, Stream, StreamingTab, in_line, line_shown, run_and_stop
from palm_demo.ui.uploads import check_prompt


def interleave(
    streams: Sequence[Iterator[str]], cancelled: threading.Event
) -> Iterator[list[tuple[int, str]]]:
    """Runs streams in parallel, and yields lists of the (index of the stream, delta) that have come since the
    last list.

    An error in one stream, or closing this iterator, ends all streams.

    cancelled: the event that stops the streams.
    """
    deltas: SimpleQueue[tuple[int, str | Exception | None]] = SimpleQueue()

    def read(place: int, stream: Iterator[str]) -> None:
        try:
            for delta in stream:
                deltas.put((place, delta))
            deltas.put((place, None))
        except Exception as error:
            deltas.put((place, error))

    with ThreadPoolExecutor(len(streams), thread_name_prefix="side by side") as readers:
        try:
            for place, stream in enumerate(streams):
                readers.submit(read, place, stream)
            running = len(streams)
            while running:
                items = _drain(deltas)
                if error := next((delta for _, delta in items if isinstance(delta, Exception)), None):
                    raise error
                running -= sum(delta is None for _, delta in items)
                yield [(place, delta) for place, delta in items if delta is not None]
        except BaseException:
            cancelled.set()
            raise


def _drain(queue: SimpleQueue) -> list:
    """All items that are in a queue. Waits for the first."""
    items = [queue.get()]
    while not queue.empty():
        items.append(queue.get())
    return items


TAB = "palm-columns"
MOST = 3
PROMPT = "It was a dark and stormy night, and"


def compare_tab(
    session: Session, limits: Limits, stops: Stops, links: SettingsLinks, own: UserAdapters
) -> gr.Dropdown:
    """Builds the sub-tab inside the current Blocks. Returns the component in which scopes are picked."""
    begins_with = [scope for scope in MOST_DIFFERENT if scope in session.scopes] or session.scopes[:MOST]
    shown = [PLAIN, *map(shown_name, begins_with)]
    prompt = gr.Textbox(PROMPT, label="One beginning for all", lines=2, max_lines=8, elem_id=f"{TAB}-prompt")
    picked = gr.Dropdown(
        own.choices("")[1:],
        value=begins_with,
        multiselect=True,
        max_choices=MOST,
        label="Beside plain PaLM",
        info=f"Up to {MOST} voices. All make the same random choices, so what differs is the voice"
        if session.scopes
        else NO_VOICES,
        elem_id=f"{TAB}-picked",
    )
    run, stop = run_and_stop(TAB, "Write side by side", "Stop all")
    line = line_shown(TAB)
    with gr.Row(elem_id=f"{TAB}-texts"):
        texts = [
            gr.Textbox(
                label=shown[place] if place < len(shown) else "…",
                lines=10,
                max_lines=20,
                interactive=False,
                visible=place < len(shown),
                min_width=240,
                elem_id=f"{TAB}-{place}",
            )
            for place in range(MOST + 1)
        ]
    sampling = sampling_controls(TAB, limits, CONTINUED)
    links.button({"scopes": picked, **shared_sampling(sampling)})

    def stream(request: gr.Request, cancelled: Stream, prompt: str, picked: list[str] | None, *settings):
        visitor = request.session_hash
        written = [check_prompt(prompt, limits)] * (MOST + 1)
        choices = [BASE, *(picked or [])]
        if len(choices) > MOST + 1:
            raise ScopeError(
                f"{len(choices) - 1} voices were picked and {MOST} fit beside plain PaLM; leave some out"
            )
        scopes = [own.scope(visitor, choice) for choice in choices]
        asked = sampling_settings(*settings)
        if asked["seed"] is None:
            asked["seed"] = random.randrange(2**31)
        streams = [session.stream(prompt, scope, **asked, cancelled=cancelled) for scope in scopes]
        names = {value: shown for shown, value in own.choices(visitor)}
        yield [*_columns([names[choice] for choice in choices]), in_line("")]
        for come in interleave(streams, cancelled):
            for place, delta in come:
                written[place] += delta
            waiting = [delta for _, delta in come if isinstance(delta, QueuePosition)]
            yield [*written, in_line(waiting[-1] if waiting else "")]
        yield [*written, in_line("")]  # streams that are stopped in the queue end with their places

    tab = StreamingTab(TAB, stops, [run], [stop])
    tab.wire(run.click, stream, [prompt, picked, *sampling], [*texts, line])
    return picked


def _columns(names: list[str]) -> list:
    """Updates of all text boxes: one is shown for each name, and the others are hidden."""
    hidden = [gr.update(value="", visible=False)] * (MOST + 1 - len(names))
    return [*(gr.update(value="", label=name, visible=True) for name in names), *hidden]
