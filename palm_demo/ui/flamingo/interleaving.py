"""Text with `<media>` marks: put together for Flamingo, taken apart for the eye."""

import html
from collections.abc import Sequence
from pathlib import Path

import gradio as gr

from palm_demo.media import is_video
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


def as_message(prompt: str, media: Sequence[str | Path]) -> dict:
    """A Chatbot message of a visitor: each medium in the place of its mark."""
    content: list[str | gr.components.Component] = []
    shown = iter(zip(media, names(media), strict=True))
    for place, text in enumerate(prompt.split(MEDIA)):
        if place:
            content.append(_as_component(*next(shown)))
        if text.strip():
            content.append(literal(text.strip()))
    return {"role": "user", "content": content}


def literal(text: str) -> str:
    """For the Chatbot, which reads what it shows as HTML, even with `render_markdown=False`."""
    return html.escape(text, quote=False)


def _as_component(path: str | Path, name: str) -> gr.components.Component:
    if is_video(path):
        return gr.Video(str(path), label=name, buttons=[], render=False)
    return gr.Image(str(path), alt_text=name, label=name, buttons=[], render=False)
