"""Describes a picture: its caption, alternative captions, and probabilities of labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from palm_demo.internals.gradio_files import file_data
from palm_demo.session import Session
from palm_demo.settings import Limits
from palm_demo.ui.choices import choices
from palm_demo.ui.components import no_warning, warning_of, warning_shown
from palm_demo.ui.messages import on_page
from palm_demo.ui.photographs import example_photos, thumbnail
from palm_demo.ui.streaming import Stops
from palm_demo.ui.uploads import check_labels, check_picture

LABELS = "cat, dog, car, red apple, guitar, umbrella, rocket, tree"
SHOWN_CAPTIONS = 5
ENCODED_SECONDS = 600
"""How long the encoded last picture is kept."""
PICTURE = "mammut-picture"
"""The name of the work on the picture in `Stops`. Of two pictures at once, only the later is described."""

AS_FILE = {"preprocess": False}
"""Gives handlers the uploaded file. gr.Image would decode it before it is checked."""


@dataclass(frozen=True)
class Described:
    """Components that other parts of the tab use.

    Attributes:
        picture: the picture that is described.
        similar: the button that searches for similar pictures.
        outputs: its caption, the out-of-distribution warning, alternative captions, the probabilities of
            labels, and the state with the encoded picture.
    """

    picture: gr.Image
    similar: gr.Button
    outputs: list


def describing(
    session: Session, limits: Limits, stops: Stops, tab: str, computed: dict, folder: Path
) -> Described:
    """Builds the column inside the current Blocks.

    Args:
        session: describes.
        limits: on labels.
        stops: of the page's streams.
        tab: the beginning of the warning's elem_id.
        computed: options of its events.
        folder: for the files of examples.
    """
    picture = gr.Image(
        label="Picture",
        format="png",  # lossless, for pictures that a click on the gallery puts here
        type="filepath",
        sources=["upload", "clipboard"],
        height=260,
        buttons=[],
        elem_id="mammut-picture",
    )
    examples = choices(
        [{"text": p.title, "image": file_data(thumbnail(p, folder))} for p in example_photos()],
        "Photographs: one press describes",
        "mammut-photos",
        "tiles",
    )
    with gr.Row():
        describe = gr.Button("Describe", variant="primary", elem_id="mammut-describe")
        similar = gr.Button("Find similar", elem_id="mammut-similar")
    caption = gr.Textbox(label="MaMMUT sees", interactive=False, elem_id="mammut-caption")
    warning = warning_shown(tab)
    others = gr.Label(
        label="What it might have said, and how probable it finds each",
        num_top_classes=SHOWN_CAPTIONS,
        show_heading=False,
        elem_id="mammut-others-said",
    )
    with gr.Accordion("Labels", open=False, elem_id="mammut-choose"):
        labels = gr.Textbox(
            LABELS,
            label="Labels to choose from",
            info="Any nouns, with commas between them; “none of these” is one too",
            max_lines=3,
            elem_id="mammut-labels",
        )
        classify = gr.Button("Choose a label", elem_id="mammut-classify")
        bars = gr.Label(label="How likely each label is", num_top_classes=8, elem_id="mammut-bars")

    encoded = gr.State(None, time_to_live=ENCODED_SECONDS)
    outputs = [caption, warning, others, bars, encoded]

    @on_page
    def on_describe(request: gr.Request, file: dict | None):
        path, work = check_picture(file), stops.arm(request.session_hash, PICTURE)
        encoded = session.encode_image(path)
        said = session.describe(encoded, SHOWN_CAPTIONS)
        if not stops.wanted(request.session_hash, PICTURE, work):
            return gr.skip()
        return said.caption, warning_of([encoded.ood_score]), said.alternatives, gr.skip(), encoded

    @on_page
    def on_photo(request: gr.Request, event: gr.SelectData):
        work = stops.arm(request.session_hash, PICTURE)
        image = session.opened_image(example_photos()[event.index].file)
        encoded = session.encode_image(image)
        said = session.describe(encoded, SHOWN_CAPTIONS)
        if not stops.wanted(request.session_hash, PICTURE, work):
            return gr.skip()
        return image, said.caption, warning_of([encoded.ood_score]), said.alternatives, None, encoded

    def on_clear(request: gr.Request):
        stops.drop(request.session_hash, PICTURE)
        return "", no_warning(), None, None, None

    @on_page
    def on_classify(file: dict | None, labels: str) -> dict[str, float]:
        return session.classify(check_picture(file), check_labels(labels.split(","), limits))

    examples.select(on_photo, None, [picture, *outputs], **computed)
    describe.click(on_describe, picture, outputs, **computed, **AS_FILE)
    classify.click(on_classify, [picture, labels], bars, **computed, **AS_FILE)
    labels.submit(on_classify, [picture, labels], bars, **computed, **AS_FILE)
    picture.clear(on_clear, None, outputs, queue=False, api_visibility="private")
    return Described(picture, similar, outputs)
