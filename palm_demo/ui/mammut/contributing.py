"""The gallery changed and taken along: pictures added, one's own removed, those shown downloaded."""

from __future__ import annotations

import html

import gradio as gr

from palm_demo.errors import GalleryError
from palm_demo.gallery import Report
from palm_demo.session import Session
from palm_demo.ui.boundary.visitors import owner_of
from palm_demo.ui.mammut.contributions import CLOSED, Contributions
from palm_demo.ui.mammut.downloads import download_of
from palm_demo.ui.mammut.finding import Listed
from palm_demo.ui.messages import on_page
from palm_demo.ui.stopping import Stops, StreamingTab

TAB = "mammut-add"
OPEN = (
    "Every visitor of this page sees what you add, and the names of your files. You can remove your own "
    "pictures until you leave."
)


def contributing(
    session: Session,
    contributions: Contributions,
    stops: Stops,
    found: gr.State,
    picked: gr.State,
    computed: dict,
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
                    add = gr.Button("Add to the gallery", variant="primary", elem_id=TAB)
                    stop = gr.Button("Stop", variant="stop", interactive=False, elem_id="mammut-add-stop")
                told = gr.Textbox(
                    label="What became of them",
                    lines=2,
                    max_lines=10,
                    interactive=False,
                    elem_id="mammut-told",
                )
                remove = gr.Button("Remove the picture I clicked", elem_id="mammut-remove")
            with gr.Column():
                pack = gr.Button("Pack the pictures shown above", elem_id="mammut-pack")
                packed = gr.File(label="Download", interactive=False, height=140, elem_id="mammut-packed")

    @on_page
    def on_add(request: gr.Request, files: list[dict] | None):
        paths = [file["path"] for file in files or []]
        with stops.running(request.session_hash, TAB) as stopped:
            for done, report in enumerate(contributions.add(owner_of(request), paths)):
                if done == len(paths):
                    yield told_of(report), None
                    return
                if stopped.is_set():
                    stood = f"Stopped after {done} of {len(paths)}; add them again to go on."
                    yield told_of(report, stood), gr.skip()
                    return
                yield told_of(report, f"Looking at picture {done + 1} of {len(paths)} …"), gr.skip()

    @on_page
    def on_remove(request: gr.Request, item: Listed | None):
        if item is None:
            raise GalleryError("no picture was clicked yet; search for yours and click it")
        contributions.remove(owner_of(request), [item.id])
        return f"Removed: {item.caption}.", None

    @on_page
    def on_pack(items: list[Listed]):
        return str(download_of(session, [item.id for item in items]))

    line = {"concurrency_id": TAB, "concurrency_limit": 1, "preprocess": False}
    StreamingTab(TAB, stops, add, stop).wire(add.click, on_add, files, [told, files], **line)
    remove.click(on_remove, picked, [told, picked], **computed)
    pack.click(on_pack, found, packed, **computed)


def told_of(report: Report, now: str | None = None) -> str:
    """What became of pictures, a line for each that was not added. now: what goes before it."""
    lines = [] if now is None else [now]
    lines += [f"{len(report.added)} added."]
    lines += [f"{name} is in the gallery already." for name in report.known]
    lines += [f"{name} looks like one that is there." for name, _ in report.near]
    lines += [f"{why}." for _, why in report.unreadable]
    return "\n".join(lines)
