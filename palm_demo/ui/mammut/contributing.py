"""The gallery changed and taken along: pictures added, one's own removed, those shown downloaded."""

from __future__ import annotations

import html

import gradio as gr

from palm_demo.errors import GalleryError
from palm_demo.gallery import Item, Report
from palm_demo.session import Session
from palm_demo.ui.mammut.contributions import CLOSED, Contributions
from palm_demo.ui.mammut.downloads import download_of
from palm_demo.ui.messages import on_page

OPEN = "Every visitor of this page sees what you add. You can remove your own pictures until you leave."


def contributing(
    session: Session, contributions: Contributions, found: gr.State, picked: gr.State, computed: dict
) -> None:
    """Builds its part of the tab inside the current Blocks."""
    allowed = contributions.rules.visitors
    with gr.Accordion("Add, remove, download", open=False, elem_id="mammut-change"):
        gr.HTML(
            f"<p class='note'>{html.escape(OPEN if allowed else f'{CLOSED[0].upper()}{CLOSED[1:]}.')}</p>"
        )
        with gr.Row():
            with gr.Column(visible=allowed):
                files = gr.File(
                    label=f"Your pictures, up to {contributions.limits.media} at once",
                    file_count="multiple",
                    file_types=["image"],
                    height=140,
                    elem_id="mammut-files",
                )
                with gr.Row():
                    add = gr.Button("Add to the gallery", variant="primary", elem_id="mammut-add")
                    remove = gr.Button("Remove the picture I clicked", elem_id="mammut-remove")
                told = gr.Textbox(label="What became of them", interactive=False, elem_id="mammut-told")
            with gr.Column():
                pack = gr.Button("Pack the pictures shown above", elem_id="mammut-pack")
                packed = gr.File(label="Download", interactive=False, height=140, elem_id="mammut-packed")

    @on_page
    def on_add(request: gr.Request, files: list[dict] | None):
        report = contributions.add(request.session_hash, [file["path"] for file in files or []])
        return _told(report), None

    @on_page
    def on_remove(request: gr.Request, item: Item | None):
        if item is None:
            raise GalleryError("no picture was clicked yet; search for yours and click it")
        contributions.remove(request.session_hash, [item.id])
        return f"Removed: {item.caption}.", None

    @on_page
    def on_pack(items: list[Item]):
        return str(download_of(session, [item.id for item in items]))

    add.click(on_add, files, [told, files], preprocess=False, **computed)
    remove.click(on_remove, picked, [told, picked], **computed)
    pack.click(on_pack, found, packed, **computed)


def _told(report: Report) -> str:
    lines = [f"{len(report.added)} added."]
    lines += [f"{name.capitalize()} is in the gallery already." for name in report.known]
    lines += [f"{name.capitalize()} looks like one that is there." for name, _ in report.near]
    lines += [f"{why[0].upper()}{why[1:]}." for _, why in report.unreadable]
    return "\n".join(lines)
