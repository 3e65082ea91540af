"""Saves a conversation as one HTML file, with its pictures and videos in it."""

import base64
import html
import mimetypes
from collections.abc import Sequence
from pathlib import Path

import gradio as gr

from palm_demo.errors import MediaError, PromptError
from palm_demo.internals.gradio_files import ComponentMessage, new_folder
from palm_demo.models.tokenizers import MEDIA
from palm_demo.ui.boundary.files import files_in
from palm_demo.ui.flamingo.conversation import Exchange, names
from palm_demo.ui.messages import on_page

NAME = "conversation.html"
MOST_BYTES = 50_000_000
"""The most bytes of all media in one file. Browsers open larger pages slowly."""

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>A conversation with Flamingo</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
  :root { color-scheme: light dark; }
  body { font: 1rem/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem; }
  article { border-bottom: 1px solid #94a3b8; padding: 1rem 0; }
  img, video { max-width: 100%; max-height: 20rem; border-radius: .5rem; display: block; margin: .5rem 0; }
  .said { white-space: pre-wrap; overflow-wrap: anywhere; }
  .answer { font-weight: 600; }
</style></head><body><h1>A conversation with Flamingo</h1>
TURNS
</body></html>
"""
HAND_OVER = """file => {
    if (file) setTimeout(() => document.getElementById("flamingo-saved").click());
}"""


class SaveButton:
    """A button that writes the file and downloads it, built inside the current row."""

    def __init__(self, turns: gr.State):
        save = gr.Button("Save this conversation", size="sm", scale=0, min_width=190, elem_id="flamingo-save")
        file = gr.DownloadButton("Download", visible="hidden", elem_id="flamingo-saved")
        written = save.click(
            on_page(saved),
            turns,
            file,
            show_progress="minimal",
            show_progress_on=save,
            api_visibility="private",
        )
        written.success(None, file, None, js=HAND_OVER, api_visibility="private")


def saved(turns: Sequence[Exchange]) -> str:
    """Writes exchanges to a file, and returns its path.

    Raises PromptError if there are none, MediaError if their media are gone or too large.
    """
    if not turns:
        raise PromptError("nothing was asked yet; ask something first, then save it")
    path = new_folder() / NAME
    path.write_text(as_page(turns), encoding="utf-8")
    return str(path)


def as_page(turns: Sequence[Exchange]) -> str:
    """Exchanges as an HTML page with their media in data: URIs."""
    _check_size([message for turn in turns for message in turn.shown])
    return PAGE.replace("TURNS", "\n".join(map(_turn_html, turns)))


def _check_size(media: Sequence[ComponentMessage]) -> None:
    """Raises MediaError if media have more than MOST_BYTES together. Files that are gone do not count."""
    paths = [path for path in map(_path_of, media) if path.exists()]
    size_bytes = sum(path.stat().st_size for path in paths)
    if size_bytes > MOST_BYTES:
        raise MediaError(
            f"the pictures and videos have {size_bytes:,} bytes together and at most {MOST_BYTES:,} fit; "
            "start over and save less"
        )


def _turn_html(turn: Exchange) -> str:
    media = iter(zip(turn.shown, names(turn.media), strict=True))
    parts = []
    for index, text in enumerate(turn.typed.split(MEDIA)):
        if index:
            parts.append(_medium_html(*next(media)))
        if text.strip():
            parts.append(f"<p class='said'>{html.escape(text.strip())}</p>")
    return f"<article>{''.join(parts)}<p class='said answer'>{html.escape(turn.answer)}</p></article>"


def _path_of(medium: ComponentMessage) -> Path:
    """The file of a medium in the form that the chat shows, which all browsers can show."""
    return Path(next(files_in([medium.value]))["path"])


def _medium_html(medium: ComponentMessage, name: str) -> str:
    """HTML of a medium, with its file in it."""
    path = _path_of(medium)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MediaError(f"{name} is no longer there; ask about it again, then save") from error
    kind = mimetypes.guess_type(path)[0] or "image/webp"
    address = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    if kind.startswith("video/"):
        return f"<video src='{address}' controls loop muted title='{name}'></video>"
    return f"<img src='{address}' alt='{name}'>"
