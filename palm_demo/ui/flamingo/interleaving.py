"""Text with `<media>` marks: put together for Flamingo, taken apart for the eye."""

import html
from collections.abc import Sequence
from contextvars import Context
from pathlib import Path
from uuid import uuid4

import gradio as gr
from gradio.components.chatbot import ComponentMessage

from palm_demo.internals.gradio_files import upload_folder
from palm_demo.media import Medium, as_shown, is_video
from palm_demo.prompting import OURS, PromptForm
from palm_demo.tokenizer import MEDIA


def assemble(text: str, media: int, form: PromptForm = OURS) -> str:
    """The prompt for what a visitor typed and attached.

    A text without marks gets one per medium in front; a bare question is put into the form that Flamingo
    learned. Marks that the visitor wrote stay where they are.
    """
    text = text.strip()
    if text.endswith("?") and not form.has(text):
        head, mark, question = text.rpartition(MEDIA)
        text = f"{head}{mark} {form.asked(question)}".strip()
    if MEDIA not in text:
        text = " ".join([*[MEDIA] * media, text])
    return text


def names(media: Sequence[str | Path]) -> list[str]:
    """What each medium is called on the page: picture 1, video 2 …"""
    return [f"{'video' if is_video(path) else 'picture'} {place}" for place, path in enumerate(media, 1)]


def labelled(prompt: str, media: Sequence[str | Path]) -> list[tuple[str, str | None]]:
    """(text, label) pieces in which each mark has the name of its medium."""
    pieces: list[tuple[str, str | None]] = []
    labels = iter(names(media))
    for place, text in enumerate(prompt.split(MEDIA)):
        if place:
            pieces.append((MEDIA, next(labels, "missing")))
        if text:
            pieces.append((text, None))
    return pieces


def as_message(prompt: str, shown: Sequence[ComponentMessage]) -> dict:
    """A Chatbot message of a visitor: each medium, as `as_shown_media` gives it, in the place of its mark."""
    content: list[str | ComponentMessage] = []
    media = iter(shown)
    for place, text in enumerate(prompt.split(MEDIA)):
        if place:
            content.append(next(media))
        if text.strip():
            content.append(literal(text.strip()))
    return {"role": "user", "content": content}


def literal(text: str) -> str:
    """For the Chatbot, which reads what it shows as HTML, even with `render_markdown=False`."""
    return html.escape(text, quote=False)


def as_shown_media(media: Sequence[str | Path], decoded: Sequence[Medium]) -> list[ComponentMessage]:
    """Files as parts of messages; decoded: what a session's `opened` gave for each. To be called once for
    each: what browsers cannot show is converted, and Gradio looks into every video of which it makes a
    component."""
    # In an event's own context a component only notes what it was given, to be made anew at each update.
    return [Context().run(_as_part, *one) for one in zip(media, names(media), decoded, strict=True)]


def _as_part(path: str | Path, name: str, decoded: Medium) -> ComponentMessage:
    frames = decoded if isinstance(decoded, list) else [decoded]
    path = as_shown(path, upload_folder() / uuid4().hex, decoded=frames)
    component = (
        gr.Video(str(path), label=name, buttons=[], render=False)
        if path.suffix.lower() in (".mp4", ".webm")
        else gr.Image(str(path), alt_text=name, label=name, buttons=[], render=False)
    )
    config = component.get_config()
    settings = {key: value for key, value in component.constructor_args.items() if key != "value"}
    return ComponentMessage(
        component=component.get_block_name(), value=config["value"], constructor_args=settings, props=config
    )
