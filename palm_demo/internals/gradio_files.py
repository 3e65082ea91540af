"""Undocumented parts of gradio: its upload folder and file data, tabs of a block, messages of a chat."""

from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from uuid import uuid4

import gradio as gr
from gradio.blocks import Block
from gradio.components.chatbot import ComponentMessage
from gradio.data_classes import FileData
from gradio.processing_utils import save_pil_to_cache
from gradio.utils import get_upload_folder
from PIL import Image

__all__ = [
    "Block",
    "ComponentMessage",
    "check_room",
    "file_data",
    "image_file_data",
    "keep_files",
    "made",
    "new_folder",
    "room",
    "tabs_around",
    "upload_folder",
]


room: ContextVar[Callable[[], None] | None] = ContextVar("room", default=None)
"""Raises BusyError when no more files fit. A page sets it for each event."""


made: ContextVar[list[Path] | None] = ContextVar("made", default=None)
"""The folders that `new_folder` has made. A page sets it for each event, and deletes the files in them after
a while; gradio itself would know of those alone that an event gives to a component."""


def check_room() -> None:
    """Raises BusyError when no more files fit. Call it before a file is made in the upload folder."""
    if (check := room.get()) is not None:
        check()


def upload_folder() -> Path:
    """The folder of visitors' files, from where gradio serves files and deletes them after a while."""
    return Path(get_upload_folder())


def new_folder() -> Path:
    """Makes a folder in the upload folder, for a file that a visitor may download under its own name.

    Raises what `room` does.
    """
    check_room()
    folder = upload_folder() / uuid4().hex
    folder.mkdir(parents=True)
    if (folders := made.get()) is not None:
        folders.append(folder)
    return folder


def file_data(path: str | Path) -> dict:
    """A file of the upload folder in an endpoint's answer. gradio adds the address to download it from."""
    return FileData(path=str(path)).model_dump()


def image_file_data(image: Image.Image) -> dict:
    """A picture in an endpoint's answer, stored in the upload folder as a PNG named by its content.

    Raises what `room` does.
    """
    check_room()
    return file_data(save_pil_to_cache(image, str(upload_folder()), format="png"))


def keep_files(block: Block, files: set[str]) -> None:
    """Keeps files from being deleted after a while, for as long as they are in a set.

    block: any of the page.
    """
    block.keep_in_cache = files


def tabs_around(block: Block | None) -> list[gr.Tab]:
    """The tabs that contain a block, innermost first."""
    inside = []
    while block is not None:
        inside += [block] if isinstance(block, gr.Tab) else []
        block = block.parent
    return inside
