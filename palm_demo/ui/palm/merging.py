"""Several streams as one: what each says, as it comes."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue


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
