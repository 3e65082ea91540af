"""From settings to a page that is served: at once with the bundled weights, behind a bar with others."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from palm_demo.profiles import TINY, Step
from palm_demo.session import Session, load, load_or_tiny
from palm_demo.session.place import default_place, page_place, writable_or_memory
from palm_demo.settings import Settings
from palm_demo.ui import page
from palm_demo.ui.loading_page import opening


@dataclass(frozen=True)
class ServedPage:
    """A page that is being served, and the session that it asks."""

    session: Session
    blocks: gr.Blocks
    address: str

    def close(self, grace_seconds: float, last_word_seconds: float) -> None:
        """Takes no more requests, lets those that go on end within the grace, lets what is still to be said
        reach who listens within the time for last words, then closes the server."""
        self.session.close(grace_seconds)
        self.blocks.listeners.wait(last_word_seconds)
        self.blocks.close(verbose=False)


def start(
    settings: Settings,
    examples: Path,
    profile: str | None,
    gallery: str | None,
    answering: Callable[[Session], Session] = lambda session: session,
    **options,
) -> ServedPage:
    """Serves the page of a profile, or of the bundled weights with a banner that says why, in threads of its
    own.

    examples: an empty folder that outlives the page. profile, gallery: as the environment names them, or
    None. answering: gives the session that the page asks, from the one that has the weights. options: of
    gradio's `launch`.
    """
    limits = settings.limits.media_limits, settings.limits.batch_limits
    if (profile or TINY) == TINY:
        session = answering(load(TINY, *limits, page_place(TINY, gallery)))
        return _served(session, page.build(session, settings, examples), settings, options)
    place = page_place(profile, gallery)
    with opening(settings.space.title, options.get("server_name"), options.get("server_port")) as door:
        loaded, fell_back = load_or_tiny(profile, *limits, place, _own_place, door.on_progress)
        door.on_progress(Step("Drawing the page"))
        session = answering(loaded)
        blocks = page.build(session, settings, examples, fell_back)
    return _served(session, blocks, settings, {**options, "server_port": door.port})


def _served(session: Session, blocks: gr.Blocks, settings: Settings, options: dict) -> ServedPage:
    _, address, _ = page.launch(blocks, settings, **{"prevent_thread_lock": True, **options})
    return ServedPage(session, blocks, address)


def _own_place() -> str:
    """The bundled weights' gallery, whichever was named for those whose place they take."""
    return writable_or_memory(default_place())
