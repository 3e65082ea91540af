"""Side by side: one beginning, written on by the base model and by up to three scopes at once."""

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
from palm_demo.ui.messages import on_page
from palm_demo.ui.palm.complete import NO_SCOPES
from palm_demo.ui.palm.user_adapters import BASE, UserAdapters
from palm_demo.ui.streaming import Stops, StreamingTab, in_line, line_shown
from palm_demo.ui.uploads import check_prompt


def merged(streams: Sequence[Iterator[str]], cancelled: threading.Event) -> Iterator[list[tuple[int, str]]]:
    """(place of the stream, its delta) of all streams, which run side by side: at each step all that
    has come since the last. The first error of any ends them all, as does whoever closes this.

    cancelled: what the streams look at to know that nobody wants more.
    """
    said: SimpleQueue[tuple[int, str | Exception | None]] = SimpleQueue()

    def read(place: int, stream: Iterator[str]) -> None:
        try:
            for delta in stream:
                said.put((place, delta))
            said.put((place, None))
        except Exception as error:
            said.put((place, error))

    with ThreadPoolExecutor(len(streams), thread_name_prefix="side by side") as readers:
        try:
            for place, stream in enumerate(streams):
                readers.submit(read, place, stream)
            running = len(streams)
            while running:
                come = _all_of(said)
                if error := next((s for _, s in come if isinstance(s, Exception)), None):
                    raise error
                running -= sum(delta is None for _, delta in come)
                yield [(place, delta) for place, delta in come if delta is not None]
        except BaseException:
            cancelled.set()
            raise


def _all_of(said: SimpleQueue) -> list:
    """What is there, at least one."""
    come = [said.get()]
    while not said.empty():
        come.append(said.get())
    return come


TAB = "palm-columns"
MOST = 3
PROMPT = "It was a dark and stormy night, and"


def columns_tab(
    session: Session, limits: Limits, stops: Stops, links: SettingsLinks, own: UserAdapters
) -> gr.Dropdown:
    """Builds the sub-tab inside the current Blocks; the picker of its scopes comes back."""
    prompt = gr.Textbox(PROMPT, label="One beginning for all", lines=2, max_lines=8, elem_id=f"{TAB}-prompt")
    picked = gr.Dropdown(
        own.choices("")[1:],
        value=session.scopes[:MOST],
        multiselect=True,
        max_choices=MOST,
        label="Beside the base model",
        info=f"Up to {MOST} scopes. All draw with the same seed, so what differs is the scope"
        if session.scopes
        else NO_SCOPES,
        elem_id=f"{TAB}-picked",
    )
    with gr.Row():
        run = gr.Button("Write side by side", variant="primary", elem_id=f"{TAB}-run")
        stop = gr.Button("Stop all", variant="stop", interactive=False, elem_id=f"{TAB}-stop")
    sampling = sampling_controls(TAB, limits, CONTINUED)
    links.button({"scopes": picked, **shared_sampling(sampling)})
    line = line_shown(TAB)
    with gr.Row(elem_id=f"{TAB}-texts"):
        texts = [
            gr.Textbox(
                label=BASE if place == 0 else "…",
                lines=10,
                max_lines=20,
                interactive=False,
                visible=place == 0,
                min_width=240,
                elem_id=f"{TAB}-{place}",
            )
            for place in range(MOST + 1)
        ]

    @on_page
    def stream(request: gr.Request, prompt: str, picked: list[str] | None, *settings):
        visitor = request.session_hash
        with stops.running(visitor, TAB) as cancelled:
            written = [check_prompt(prompt, limits)] * (MOST + 1)
            choices = [BASE, *(picked or [])]
            if len(choices) > MOST + 1:
                raise ScopeError(
                    f"{len(choices) - 1} scopes were picked and {MOST} fit beside the base; leave some out"
                )
            scopes = [own.scope(visitor, choice) for choice in choices]
            asked = sampling_settings(*settings)
            if asked["seed"] is None:
                asked["seed"] = random.randrange(2**31)
            streams = [session.stream(prompt, scope, **asked, cancelled=cancelled) for scope in scopes]
            names = {value: shown for shown, value in own.choices(visitor)}
            yield [*_columns([names[choice] for choice in choices]), in_line("")]
            for come in merged(streams, cancelled):
                for place, delta in come:
                    written[place] += delta
                waiting = [delta for _, delta in come if isinstance(delta, QueuePosition)]
                yield [*written, in_line(waiting[-1] if waiting else "")]

    StreamingTab(TAB, stops, run, stop).wire(run.click, stream, [prompt, picked, *sampling], [*texts, line])
    return picked


def _columns(names: list[str]) -> list:
    """Updates of all texts: as many are seen as are written, each under its scope's name."""
    unseen = [gr.update(value="", visible=False)] * (MOST + 1 - len(names))
    return [*(gr.update(value="", label=name, visible=True) for name in names), *unseen]
