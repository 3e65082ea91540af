"""Streams of text to the page, which can be stopped, and which show their place in the queue.

Gradio's own `cancels=` shows a red "Error" over chats with media about one time in four.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import gradio as gr

from palm_demo.inference.decoding import QueuePosition
from palm_demo.ui.messages import on_page, or_warn

REMEMBERED = 10_000
"""The most streams that are remembered. The oldest are forgotten first; they have usually never begun."""


class Stream(threading.Event):
    """The cancel event of one stream.

    source: what begins it, one of those that begin streams of its tab.
    """

    def __init__(self, source: object = None):
        super().__init__()
        self.source = source


class Stops:
    """The cancel events of the newest streams, by visitor (session hash) and tab."""

    def __init__(self):
        self._streams: OrderedDict[tuple[str, str], Stream] = OrderedDict()
        self._lock = threading.Lock()

    def arm(self, visitor: str, tab: str, source: object = None) -> Stream:
        """Makes the event for a stream that is about to begin, and stops the tab's earlier stream."""
        fresh = Stream(source)
        with self._lock:
            earlier = self._streams.get((visitor, tab))
            self._streams[visitor, tab] = fresh
            self._streams.move_to_end((visitor, tab))
            while len(self._streams) > REMEMBERED:
                self._streams.popitem(last=False)
        if earlier is not None:
            earlier.set()
        return fresh

    @contextmanager
    def running(self, visitor: str, tab: str, source: object = None) -> Iterator[Stream]:
        """Yields the event of a stream while it runs, and forgets it at the end.

        Where another source has armed a newer stream before this one began, the event is set and not
        `wanted`.
        """
        with self._lock:
            stream = self._streams.setdefault((visitor, tab), Stream(source))
            if stream.source is not source:
                stream = Stream(source)
                stream.set()
        try:
            yield stream
        finally:
            with self._lock:
                if self._streams.get((visitor, tab)) is stream:
                    del self._streams[visitor, tab]

    def any(self, visitor: str, tab: str) -> bool:
        """Whether a stream of a tab runs or is about to begin."""
        with self._lock:
            return (visitor, tab) in self._streams

    def stop(self, visitor: str, tab: str) -> None:
        """Stops the newest stream of a tab. What it has written stays on the page."""
        with self._lock:
            stream = self._streams.get((visitor, tab))
        if stream is not None:
            stream.set()

    def drop(self, visitor: str, tab: str) -> None:
        """Stops and forgets the stream of a tab, whose text is no longer wanted."""
        with self._lock:
            stream = self._streams.pop((visitor, tab), None)
        if stream is not None:
            stream.set()

    def wanted(self, visitor: str, tab: str, stream: Stream) -> bool:
        """Whether a stream is still the tab's newest and was not dropped."""
        with self._lock:
            return self._streams.get((visitor, tab)) is stream

    def leave(self, visitor: str) -> None:
        """Stops and forgets all streams of a visitor who has left."""
        with self._lock:
            gone = [key for key in self._streams if key[0] == visitor]
            streams = [self._streams.pop(key) for key in gone]
        for stream in streams:
            stream.set()


def run_and_stop(tab: str, run: str, stop: str = "Stop") -> tuple[gr.Button, gr.Button]:
    """Builds a row with the two buttons of a `StreamingTab`, and returns them.

    Args:
        tab: the beginning of their elem_ids.
        run, stop: what is written on them.
    """
    with gr.Row():
        return (
            gr.Button(run, variant="primary", scale=2, min_width=120, elem_id=f"{tab}-run"),
            gr.Button(stop, variant="stop", interactive=False, scale=1, min_width=90, elem_id=f"{tab}-stop"),
        )


class StreamingTab:
    """Buttons that begin and stop streams of text, and the events for these.

    A tab has one stream at a time: the next one stops it. While one runs, its beginning buttons are off and
    its stopping buttons are on; they belong to the newest stream.

    Args:
        tab: its name in `Stops`.
        stops: of the page's streams.
        run, stop: the buttons that begin a stream, and that stop it.
    """

    def __init__(self, tab: str, stops: Stops, run: Sequence[gr.Button], stop: Sequence[gr.Button]):
        self.tab, self.stops, self.run, self.stop = tab, stops, run, stop
        clicks = [button.click for button in stop]
        gr.on(clicks, self._stop, queue=False, show_progress="hidden", api_visibility="private")

    def wire(
        self,
        begin: Callable[..., gr.events.Dependency],
        stream: Callable[..., Iterator],
        inputs: list,
        outputs: list,
        check: Callable[..., object] | None = None,
        **concurrency,
    ) -> None:
        """Connects a stream to an event.

        Args:
            begin: the method that adds a listener, such as `button.click` or another event's `.then`.
            stream: the handler, a generator of updates. It is called with the request, the cancel event
                and the inputs. Its errors become warnings. What it yields once a newer stream is there, or
                it was dropped, is not shown.
            inputs, outputs: its components.
            check: called with the inputs first. If it raises, its error becomes a warning, and what runs
                goes on. Pass it where a stream can begin while another runs.
            concurrency: Gradio's options for it. By default there is no limit, because each model has a
                queue.
        """
        quiet = {"show_progress": "hidden", "api_visibility": "private"}
        at_once = quiet | {"queue": False}
        source, buttons = object(), [*self.run, *self.stop]

        def arm(request: gr.Request, *inputs):
            if check is not None:
                with or_warn():
                    check(*inputs)
            self.stops.arm(request.session_hash, self.tab, source)
            return self._buttons(running=True)

        def run(request: gr.Request, *inputs):
            visitor = request.session_hash
            with self.stops.running(visitor, self.tab, source) as cancelled:
                if not self.stops.wanted(visitor, self.tab, cancelled):
                    return
                for update in stream(request, cancelled, *inputs):
                    if not self.stops.wanted(visitor, self.tab, cancelled):
                        return
                    yield update

        def fail(request: gr.Request):
            with self.stops.running(request.session_hash, self.tab, source):
                pass  # it has never begun: what was armed for it is forgotten
            return self._settle(request)

        run.__name__ = stream.__name__
        armed = (
            begin(arm, None, buttons, **at_once)
            if check is None
            else begin(arm, inputs, buttons, concurrency_limit=None, **quiet)  # warnings need the queue
        )
        ended = armed.success(
            on_page(run),
            inputs,
            outputs,
            show_progress="minimal",
            trigger_mode="always_last",  # a press that has stopped the stream of the one before is not lost
            api_visibility="private",
            **({"concurrency_limit": None} | concurrency),
        )
        ended.success(self._settle, None, buttons, **at_once)
        ended.failure(fail, None, buttons, **at_once)

    def _buttons(self, running: bool) -> list:
        run = [gr.update(interactive=not running) for _ in self.run]
        return [*run, *(gr.update(interactive=running) for _ in self.stop)]

    def _settle(self, request: gr.Request) -> list:
        """The buttons after a stream has ended. Those of a newer one stay as they are."""
        if self.stops.any(request.session_hash, self.tab):
            return [gr.skip() for _ in (*self.run, *self.stop)]
        return self._buttons(running=False)

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
