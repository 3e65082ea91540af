"""Describes a picture: its caption, alternative captions, and probabilities of labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from palm_demo.internals.gradio_files import file_data
from palm_demo.session import Description, Session
from palm_demo.settings import Limits
from palm_demo.ui.choices import choices
from palm_demo.ui.components import no_warning, warning_of, warning_shown
from palm_demo.ui.messages import on_page
from palm_demo.ui.photographs import example_photos, thumbnail
from palm_demo.ui.press_feedback import filling, scrolling_to
from palm_demo.ui.streaming import Stops, Stream
from palm_demo.ui.uploads import check_labels, check_picture

LABELS = "cat, dog, car, red apple, guitar, umbrella, rocket, tree"
SHOWN_CAPTIONS = 5
PICTURE = "mammut-picture"
"""The name of the work on the picture in `Stops`. Of two pictures at once, only the later is described."""

CLASSIFYING = "mammut-labels"
"""The name of the choice of a label in `Stops`. That of an earlier picture is not shown."""

AS_FILE = {"preprocess": False}
"""Gives handlers the uploaded file. gr.Image would decode it before it is checked."""


@dataclass(frozen=True)
class Described:
    """Components that other parts of the tab use.

    Attributes:
        picture: the picture that is described.
        similar: the button that searches for similar pictures.
        outputs: its caption, the out-of-distribution warning, alternative captions, and the probabilities of
            labels.
    """

    picture: gr.Image
    similar: gr.Button
    outputs: list


def describing(
    session: Session,
    limits: Limits,
    stops: Stops,
    tab: str,
    computed: dict,
    folder: Path,
    searched: bool,
) -> Described:
    """Builds the picture, the means to fill it, and what is said of it inside the current row, the grid
    `mammut-desk`.

    Args:
        session: describes.
        limits: on labels.
        stops: of the page's streams.
        tab: the beginning of the warning's elem_id.
        computed: options of its events.
        folder: for the files of examples.
        searched: whether there is a gallery to search for similar pictures.
    """
    with gr.Column(elem_id="mammut-left", min_width=260):
        examples = choices(
            [{"text": p.title, "image": file_data(thumbnail(p, folder))} for p in example_photos()],
            "Photographs: one press describes",
            "mammut-photos",
            "tiles",
        )
        picture = gr.Image(
            label="Picture",
            format="png",  # lossless, for pictures that a click on the gallery puts here
            type="filepath",
            sources=["upload", "clipboard"],
            height=260,
            buttons=[],
            elem_id="mammut-picture",
        )
        with gr.Column(elem_id="mammut-means"):
            with gr.Row():
                describe = gr.Button("Describe", variant="primary", min_width=110, elem_id="mammut-describe")
                similar = gr.Button("Find similar", visible=searched, min_width=110, elem_id="mammut-similar")
            with gr.Accordion("Labels", open=False, elem_id="mammut-choose") as choose:
                labels = gr.Textbox(
                    LABELS,
                    label="Labels to choose from",
                    info="Nouns with commas between them. “None of these” is always one more",
                    max_lines=3,
                    elem_id="mammut-labels",
                )
                classify = gr.Button("Choose a label", elem_id="mammut-classify")
                bars = gr.Label(label="How likely each label is", num_top_classes=8, elem_id="mammut-bars")
    with gr.Row(elem_id="mammut-said"):
        with gr.Column(min_width=220):
            caption = gr.Textbox(
                label="MaMMUT sees",
                placeholder="Drop a picture, or press a photograph.",
                interactive=False,
                elem_id="mammut-caption",
            )
            warning = warning_shown(tab)
        others = gr.Label(
            label="What it might have said, and how probable it finds each",
            num_top_classes=SHOWN_CAPTIONS,
            show_heading=False,
            min_width=260,
            visible="hidden",
            elem_id="mammut-others-said",
        )

    outputs = [caption, warning, others, bars]

    @on_page
    def on_describe(request: gr.Request, file: dict | None):
        path, work = check_picture(file), stops.arm(request.session_hash, PICTURE)
        encoded = session.encode_image(path)
        said = session.describe(encoded, SHOWN_CAPTIONS)
        if not stops.wanted(request.session_hash, PICTURE, work):
            return gr.skip()
        return said.caption, warning_of([encoded.ood_score]), alternatives(said), gr.skip()

    @on_page
    def on_photo(request: gr.Request, event: gr.SelectData):
        work = new_picture(stops, request.session_hash)
        image = session.opened_image(example_photos()[event.index].file)
        encoded = session.encode_image(image)
        said = session.describe(encoded, SHOWN_CAPTIONS)
        if not stops.wanted(request.session_hash, PICTURE, work):
            return gr.skip()
        return image, said.caption, warning_of([encoded.ood_score]), alternatives(said), None

    def on_clear(request: gr.Request):
        for work in (PICTURE, CLASSIFYING):
            stops.drop(request.session_hash, work)
        return "", no_warning(), no_alternatives(), None

    @on_page
    def on_classify(request: gr.Request, file: dict | None, labels: str):
        path, asked = check_picture(file), check_labels(labels.split(","), limits)
        work = stops.arm(request.session_hash, CLASSIFYING)
        found = session.classify(path, asked)
        return found if stops.wanted(request.session_hash, CLASSIFYING, work) else gr.skip()

    choose.expand(None, js=scrolling_to("mammut-choose"), api_visibility="private")
    examples.select(on_photo, None, [picture, *outputs], **computed)
    describe.click(on_describe, picture, outputs, **computed, **AS_FILE)
    classify.click(on_classify, [picture, labels], bars, **computed, **AS_FILE)
    labels.submit(on_classify, [picture, labels], bars, **computed, **AS_FILE)
    picture.upload(None, js=filling("mammut-said"), api_visibility="private")
    picture.clear(on_clear, None, outputs, queue=False, api_visibility="private")
    return Described(picture, similar, outputs)


def new_picture(stops: Stops, visitor: str) -> Stream:
    """Begins the work on another picture of a visitor. What is still said of the one before is not shown."""
    stops.drop(visitor, CLASSIFYING)
    return stops.arm(visitor, PICTURE)


def alternatives(said: Description):
    """The update that shows what might have been said of a picture."""
    return gr.update(value=said.alternatives, visible=True)


def no_alternatives():
    """The update that hides the component of `alternatives`."""
    return gr.update(value=None, visible="hidden")
