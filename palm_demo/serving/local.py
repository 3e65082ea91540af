"""The page and its models in this one process: what `python app.py` does. On ZeroGPU its workers compute."""

import os
from pathlib import Path

from palm_demo.profiles import on_zerogpu
from palm_demo.serving.surroundings import page_folder, surround
from palm_demo.session import Session
from palm_demo.settings import SPACEFILE, load_settings


def serve(profile: str | None, spacefile: Path = SPACEFILE) -> None:
    """Serves the page of a profile, by default of the bundled weights, until it is interrupted, where PORT
    and GRADIO_SERVER_NAME say, by default on http://127.0.0.1:7860. PALM_DEMO_GALLERY names the folder of
    its gallery. spacefile: what it allows a visitor. Raises FileError as `load_settings` does."""
    settings = load_settings(spacefile)
    with page_folder() as folder:
        examples = surround(settings, folder)
        around = {"answering": _on_zerogpu()} if on_zerogpu() else {}

        from palm_demo.ui.start import start

        start(settings, examples, profile, os.environ.get("PALM_DEMO_GALLERY"), **around)


def _on_zerogpu() -> type[Session]:
    """Imported before anything asks torch for a GPU: CUDA that was begun here would be broken in workers."""
    from palm_demo.serving.zerogpu import ZeroSession

    return ZeroSession
