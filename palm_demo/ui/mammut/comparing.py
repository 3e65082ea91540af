"""Compares texts with pictures: a table of cosines."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

import gradio as gr
import numpy as np
from PIL import Image

from palm_demo.gallery.pictures import thumbnail
from palm_demo.session import Session
from palm_demo.settings import Limits
from palm_demo.ui.components import picture_files
from palm_demo.ui.mammut.wall import Listed
from palm_demo.ui.messages import on_page
from palm_demo.ui.uploads import check_media, check_texts

FROM_GALLERY = 5
STRONGEST = 55
"""The strongest colour in the table in per cent. Text on it is readable in both themes."""


def comparing(session: Session, limits: Limits, found: gr.State, computed: dict) -> None:
    """Builds the accordion inside the current Blocks.

    Args:
        session: computes the cosines.
        limits: on texts and pictures.
        found: the state with the pictures of the wall.
        computed: options of its events.
    """
    with gr.Accordion("Which text fits which picture?", open=False, elem_id="mammut-compare"):
        with gr.Row():
            files = picture_files(
                f"Pictures, up to {limits.media}; without any, the first {FROM_GALLERY} above",
                "mammut-compared",
            )
            texts = gr.Textbox(
                label="Texts",
                info=f"One in each line; without any, the captions of the first {FROM_GALLERY}",
                lines=4,
                max_lines=10,
                elem_id="mammut-texts",
            )
        compare = gr.Button("Compare", variant="primary", elem_id="mammut-compare-run")
        matrix = gr.HTML(elem_id="mammut-matrix")

    @on_page
    def on_compare(files: list[dict] | None, written: str, items: list[Listed]):
        shown = items[:FROM_GALLERY]
        chosen = [Path(file["path"]) for file in check_media(files or [], limits)]
        pictures = [session.opened_image(path) for path in chosen] or [
            session.opened_image(session.gallery.original(item.id)) for item in shown
        ]
        lines = written.splitlines() if written.strip() else [item.caption for item in shown]
        texts = check_texts(lines, limits)
        return as_table(texts, pictures, session.similarity(texts, pictures))

    compare.click(on_compare, [files, texts, found], matrix, preprocess=False, **computed)


def as_table(texts: Sequence[str], pictures: Sequence[Image.Image], cosines: np.ndarray) -> str:
    """HTML of the table. Higher cosines have a stronger colour, and the best text of each picture is bold.

    cosines: (texts, pictures).
    """
    span = max(float(np.ptp(cosines)), 1e-6)
    best = cosines.argmax(axis=0)
    head = "".join(
        f"<th scope='col'><img src='{_data(picture)}' alt='picture {place}'></th>"
        for place, picture in enumerate(pictures, 1)
    )
    lines = []
    for row, (text, of_text) in enumerate(zip(texts, cosines, strict=True)):
        cells = "".join(
            f"<td style='--fit:{STRONGEST * (cosine - cosines.min()) / span:.0f}%'>"
            + (f"<b>{cosine:.2f}</b>" if best[column] == row else f"{cosine:.2f}")
            + "</td>"
            for column, cosine in enumerate(of_text)
        )
        lines.append(f"<tr><th scope='row'>{html.escape(text)}</th>{cells}</tr>")
    return (
        "<div class='matrix' tabindex='0' role='region' aria-label='Cosines of texts and pictures'><table>"
        "<caption>Cosines, from -1 to 1; in bold the text that fits a picture best</caption>"
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _data(picture: Image.Image) -> str:
    return f"data:image/webp;base64,{base64.b64encode(thumbnail(picture)).decode()}"
