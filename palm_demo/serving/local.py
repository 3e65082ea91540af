"""The page and its models in this one process: what `python app.py` does. On ZeroGPU its workers compute."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from palm_demo.profiles import on_zerogpu
from palm_demo.serving.surroundings import page_folder, surround
from palm_demo.session import Session
from palm_demo.settings import SPACEFILE, load_settings

logger = logging.getLogger(__name__)
GRACE_SECONDS, LAST_WORD_SECONDS = 10.0, 10.0
"""For texts that are being written when the page is told to end; then, at most, for what is still to be said
to reach those who listen."""


def serve(profile: str | None, spacefile: Path = SPACEFILE) -> None:
    """Serves the page of a profile, by default of the bundled weights, where PORT and GRADIO_SERVER_NAME
    say, by default on http://127.0.0.1:7860. PALM_DEMO_GALLERY names the folder of its gallery.

    SIGINT or SIGTERM ends it: no new requests, GRACE_SECONDS for those that go on, and a last word to those
    that are not done by then. A second one ends it at once. spacefile: what it allows a visitor. Raises
    FileError as `load_settings` does.
    """
    settings = load_settings(spacefile)
    with suppress(KeyboardInterrupt), terminated_as_interrupted(), page_folder() as folder:
        examples = surround(settings, folder)
        around = {"answering": _on_zerogpu()} if on_zerogpu() else {}

        from palm_demo.serving.starting import start

        page = start(settings, examples, profile, os.environ.get("PALM_DEMO_GALLERY"), **around)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            logger.info("ending; requests that go on have %g seconds", GRACE_SECONDS)
            page.close(GRACE_SECONDS, LAST_WORD_SECONDS)


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt, as SIGINT does, so that whatever is open is closed."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _on_zerogpu() -> type[Session]:
    """Imported before anything asks torch for a GPU: CUDA that was begun here would be broken in workers."""
    from palm_demo.serving.zerogpu import ZeroSession

    return ZeroSession
