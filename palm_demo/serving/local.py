"""Serves the page with its models in this process, as `python app.py` does. On ZeroGPU, workers compute."""

import logging
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from palm_demo.internals.allocator import release_free_memory
from palm_demo.profiles import TINY, Step, on_zerogpu
from palm_demo.session import Session, load, load_or_tiny
from palm_demo.session.starter_gallery import default_place, page_place, writable_or_memory
from palm_demo.settings import SPACEFILE, ServeOptions, Settings, load_settings

if TYPE_CHECKING:  # Gradio reads the environment when it is imported, which `surround` sets first
    import gradio as gr

logger = logging.getLogger(__name__)
OPEN_FILES = 65_536
RELEASE_SECONDS = 60.0
"""Seconds after which free memory is given back to the system."""
GRACE_SECONDS, LAST_WORD_SECONDS = 10.0, 10.0
"""Seconds for running requests when the page ends, and after them for sending the last messages."""


def serve(spacefile: Path = SPACEFILE, **given: object) -> None:
    """Serves the page, by default of the bundled weights on http://127.0.0.1:7860.

    SIGINT or SIGTERM ends it: no new requests are accepted, running ones have GRACE_SECONDS, and those
    that take longer get a last message. A second signal ends it at once.

    Args:
        spacefile: the file with the limits for visitors.
        given: fields of `ServeOptions`, which override the environment.

    Raises FileError as `load_settings` does, ArgumentError as `ServeOptions.read` does.
    """
    settings = load_settings(spacefile)
    _allow_many_connections()
    with suppress(KeyboardInterrupt), terminated_as_interrupted(), page_folder() as folder:
        examples = surround(settings, folder)
        options = ServeOptions.apply(**given)
        around = {"answering": _zerogpu_session()} if on_zerogpu() else {}
        page = start(settings, examples, options.profile, options.gallery, **around)
        try:
            while True:
                time.sleep(RELEASE_SECONDS)
                release_free_memory()
        except KeyboardInterrupt:
            logger.info("ending; requests that go on have %g seconds", GRACE_SECONDS)
            page.close(GRACE_SECONDS, LAST_WORD_SECONDS)


@dataclass(frozen=True)
class ServedPage:
    """A page that is being served, with its session."""

    session: Session
    blocks: "gr.Blocks"
    address: str

    def close(self, grace_seconds: float, last_word_seconds: float) -> None:
        """Stops accepting requests, waits for running ones and for their last messages, then closes the
        server."""
        self.session.close(grace_seconds)
        self.blocks.listeners.wait(last_word_seconds)
        self.blocks.close(verbose=False)


def start(
    settings: Settings,
    examples: Path,
    profile: str,
    gallery: str | None,
    answering: Callable[[Session], Session] = lambda session: session,
    **options,
) -> ServedPage:
    """Serves the page of a profile in threads of its own. If the profile fails, it serves the bundled
    weights with a banner that says why.

    Args:
        settings: from the Spacefile.
        examples: an empty folder, which must exist as long as the page.
        profile: the name or file of the profile whose weights are loaded.
        gallery: the place of the gallery; None for the profile's own.
        answering: makes the session that the page uses from the one with the weights.
        options: for gradio's `launch`.
    """
    from palm_demo.ui import page
    from palm_demo.ui.loading_page import opening

    limits = settings.limits.media_limits, settings.limits.batch_limits
    if profile == TINY:
        session = answering(load(TINY, *limits, page_place(TINY, gallery)))
        return _served(session, page.build(session, settings, examples), settings, options)
    place = page_place(profile, gallery)
    with opening(settings.space.title, options.get("server_name"), options.get("server_port")) as waiting:
        loaded, fell_back = load_or_tiny(profile, *limits, place, _bundled_place, waiting.on_progress)
        waiting.on_progress(Step("Drawing the page"))
        session = answering(loaded)
        blocks = page.build(session, settings, examples, fell_back)
    return _served(session, blocks, settings, {**options, "server_port": waiting.port})


def _served(session: Session, blocks: "gr.Blocks", settings: Settings, options: dict) -> ServedPage:
    from palm_demo.ui import page

    try:
        _, address, _ = page.launch(blocks, settings, **{"prevent_thread_lock": True, **options})
    except KeyboardInterrupt:  # the first visitors may be answered before Gradio's `launch` returns
        ServedPage(session, blocks, "").close(GRACE_SECONDS, LAST_WORD_SECONDS)
        raise
    return ServedPage(session, blocks, address)


def _bundled_place() -> str:
    """The place of the bundled weights' gallery, if they replace a profile that failed."""
    return writable_or_memory(default_place())


@contextmanager
def page_folder() -> Iterator[Path]:
    """A folder for uploads and examples, which is removed when the page ends."""
    with tempfile.TemporaryDirectory(prefix="palm-demo-") as folder:
        yield Path(folder)


def surround(settings: Settings, folder: Path) -> Path:
    """Sets the environment that Gradio reads when it is imported, and returns the folder for examples.

    folder: for the files of this page, used by no other page.
    """
    settings.apply_environment()
    # two pages that share an upload folder would delete each other's files
    os.environ.setdefault("GRADIO_TEMP_DIR", str(folder / "uploads"))
    examples = folder / "examples"
    examples.mkdir(exist_ok=True)
    return examples


def _allow_many_connections() -> None:
    """Raises the limit of open files. Each visitor's stream needs one, and many shells allow 1,024."""
    with suppress(ImportError, ValueError, OSError):  # Windows has no such limit
        import resource

        now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
        if now != resource.RLIM_INFINITY and now < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Makes SIGTERM raise KeyboardInterrupt, as SIGINT does, so that a page is closed properly."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _zerogpu_session() -> type[Session]:
    """The session class for ZeroGPU.

    It is imported before anything asks torch for a GPU, because CUDA that was started in this process
    would be broken in workers.
    """
    from palm_demo.serving.zerogpu import ZeroSession

    return ZeroSession
