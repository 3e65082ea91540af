"""Streams of text to the page, which can be stopped, and which show their place in the queue.

Gradio's own `cancels=` shows a red "Error" over chats with media about one time in four.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gradio as gr

from palm_demo.inference.decoding import QueuePosition

REMEMBERED = 10_000
"""The most streams that are remembered. The oldest are forgotten first; they have usually never begun."""


class Stops:
    """The cancel events of all streams, by visitor (session hash) and tab."""

    def __init__(self):
        self._events: OrderedDict[tuple[str, str], threading.Event] = OrderedDict()
        self._lock = threading.Lock()

    def arm(self, visitor: str, tab: str) -> threading.Event:
        """Makes the event for a stream that is about to begin, and stops the tab's earlier stream."""
        fresh = threading.Event()
        with self._lock:
            earlier = self._events.get((visitor, tab))
            self._events[visitor, tab] = fresh
            self._events.move_to_end((visitor, tab))
            while len(self._events) > REMEMBERED:
                self._events.popitem(last=False)
        if earlier is not None:
            earlier.set()
        return fresh

    @contextmanager
    def running(self, visitor: str, tab: str) -> Iterator[threading.Event]:
        """Yields the event of a stream while it runs, and forgets it at the end."""
        with self._lock:
            event = self._events.setdefault((visitor, tab), threading.Event())
        try:
            yield event
        finally:
            with self._lock:
                if self._events.get((visitor, tab)) is event:
                    del self._events[visitor, tab]

    def stop(self, visitor: str, tab: str) -> None:
        """Stops the stream of a tab. What it has written stays on the page."""
        with self._lock:
            event = self._events.get((visitor, tab))
        if event is not None:
            event.set()

    def drop(self, visitor: str, tab: str) -> None:
        """Stops and forgets the stream of a tab, whose text is no longer wanted."""
        with self._lock:
            event = self._events.pop((visitor, tab), None)
        if event is not None:
            event.set()

    def wanted(self, visitor: str, tab: str, event: threading.Event) -> bool:
        """Whether the stream of this event is still the tab's latest and was not dropped."""
        with self._lock:
            return self._events.get((visitor, tab)) is event

    def leave(self, visitor: str) -> None:
        """Stops and forgets all streams of a visitor who has left."""
        with self._lock:
            gone = [key for key in self._events if key[0] == visitor]
            events = [self._events.pop(key) for key in gone]
        for event in events:
            event.set()


def run_and_stop(tab: str, run: str, stop: str = "Stop") -> tuple[gr.Button, gr.Button]:
    """Builds a row with the two buttons of a `StreamingTab`, and returns them.

    Args:
        tab: the beginning of their elem_ids.
        run, stop: what is written on them.
    """
    with gr.Row():
        return (
            gr.Button(run, variant="primary", elem_id=f"{tab}-run"),
            gr.Button(stop, variant="stop", interactive=False, elem_id=f"{tab}-stop"),
        )


class StreamingTab:
    """A run button and a stop button, and the events for a stream of text."""

    def __init__(self, tab: str, stops: Stops, run: gr.Button, stop: gr.Button):
        self.tab, self.stops = tab, stops
        self.buttons = [run, stop]
        stop.click(self._stop, queue=False, show_progress="hidden", api_visibility="private")

    def wire(
        self, begin: Callable[..., gr.events.Dependency], stream, inputs: list, outputs: list, **concurrency
    ) -> None:
        """Connects a stream to an event.

        Args:
            begin: the method that adds a listener, such as `button.click` or another event's `.then`.
            stream: the handler, a generator of updates.
            inputs, outputs: its components.
            concurrency: Gradio's options for it. By default there is no limit, because each model has a
                queue.
        """
        quiet = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        armed = begin(self._arm, None, self.buttons, **quiet)
        ended = armed.then(
            stream,
            inputs,
            outputs,
            show_progress="minimal",
            trigger_mode="always_last",  # a press that has stopped the stream of the one before is not lost
            api_visibility="private",
            **({"concurrency_limit": None} | concurrency),
        )
        ended.then(
            lambda: [gr.update(interactive=True), gr.update(interactive=False)], None, self.buttons, **quiet
        )

    def _arm(self, request: gr.Request):
        self.stops.arm(request.session_hash, self.tab)
        return [gr.update(interactive=False), gr.update(interactive=True)]

    def _stop(self, request: gr.Request) -> None:
        self.stops.stop(request.session_hash, self.tab)


def line_shown(tab: str) -> gr.HTML:
    """The component for the place in the queue, hidden at first. tab: begins its elem_id."""
    return gr.HTML(visible="hidden", elem_id=f"{tab}-line", elem_classes="line")


def in_line(delta: str):
    """The update of `line_shown` for a delta of a text. Only a QueuePosition is shown."""
    if not isinstance(delta, QueuePosition):
        return gr.update(value="", visible="hidden")
    ahead = "Yours is next" if delta.place == 1 else f"{delta.place - 1} more before yours"
    return gr.update(value=f"Place {delta.place} in line. {ahead}; you need not do anything.", visible=True)
