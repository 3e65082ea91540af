"""Streams to the page: stopped between tokens, and the place in the queue shown while they wait.

Gradio's own `cancels=` puts a red "Error" over chats with media about one time in four.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gradio as gr

from palm_demo.inference.decoding import QueuePosition

REMEMBERED = 10_000
"""Streams that are about to begin, or run; the oldest go first, which began nothing."""


class Stops:
    """The events of the streams that wait or run, by visitor (session hash) and tab."""

    def __init__(self):
        self._events: OrderedDict[tuple[str, str], threading.Event] = OrderedDict()
        self._lock = threading.Lock()

    def arm(self, visitor: str, tab: str) -> threading.Event:
        """A fresh event for a stream that is about to begin; an earlier one stops."""
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
        """The event of the stream that now begins; forgotten when it ends."""
        with self._lock:
            event = self._events.setdefault((visitor, tab), threading.Event())
        try:
            yield event
        finally:
            with self._lock:
                if self._events.get((visitor, tab)) is event:
                    del self._events[visitor, tab]

    def stop(self, visitor: str, tab: str) -> None:
        with self._lock:
            event = self._events.get((visitor, tab))
        if event is not None:
            event.set()

    def drop(self, visitor: str, tab: str) -> None:
        """Stops what runs, of which nobody wants to see more."""
        with self._lock:
            event = self._events.pop((visitor, tab), None)
        if event is not None:
            event.set()

    def wanted(self, visitor: str, tab: str, event: threading.Event) -> bool:
        """Whether the stream of this event was neither dropped nor followed by another."""
        with self._lock:
            return self._events.get((visitor, tab)) is event

    def leave(self, visitor: str) -> None:
        """Stops and forgets all that a visitor who left had running."""
        with self._lock:
            gone = [key for key in self._events if key[0] == visitor]
            events = [self._events.pop(key) for key in gone]
        for event in events:
            event.set()


class StreamingTab:
    """A run button, a stop button, and the three steps between a press and the last word."""

    def __init__(self, tab: str, stops: Stops, run: gr.Button, stop: gr.Button):
        self.tab, self.stops = tab, stops
        self.buttons = [run, stop]
        stop.click(self._stop, queue=False, show_progress="hidden", api_visibility="private")

    def wire(
        self, begin: Callable[..., gr.events.Dependency], stream, inputs: list, outputs: list, **line
    ) -> None:
        """begin: what listens to the start, such as `button.click` or another event's `.then`. line:
        concurrency options of the stream; by default none waits, for each model's batch has a line."""
        quiet = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        armed = begin(self._arm, None, self.buttons, **quiet)
        ended = armed.then(
            stream,
            inputs,
            outputs,
            show_progress="minimal",
            api_visibility="private",
            **({"concurrency_limit": None} | line),
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
    """Where the place stands while there is one."""
    return gr.HTML(visible="hidden", elem_id=f"{tab}-line", elem_classes="line")


def in_line(delta: str):
    """The update of `line_shown` that goes with a delta of a text."""
    if not isinstance(delta, QueuePosition):
        return gr.update(value="", visible="hidden")
    ahead = "Yours is next" if delta.place == 1 else f"{delta.place - 1} more before yours"
    return gr.update(value=f"Place {delta.place} in line. {ahead}; you need not do anything.", visible=True)
