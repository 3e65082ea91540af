"""Describes a picture: its caption, alternative captions, and probabilities of labels."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from palm_demo.session import EncodedImage, Session
from palm_demo.settings import Limits
from palm_demo.ui.components import warning_of, warning_shown
from palm_demo.ui.messages import on_page
from palm_demo.ui.uploads import check_labels, check_picture

LABELS = "cat, dog, car, red apple, guitar, umbrella, rocket, tree"
SHOWN_CAPTIONS = 5
SEEN_SECONDS = 600
"""How long the encoded last picture is kept."""

AS_FILE = {"preprocess": False}
"""Gives handlers the uploaded file. gr.Image would decode it before it is checked."""


@dataclass(frozen=True)
class Described:
    """Components that other parts of the tab use.

    Attributes:
        picture: the picture that is described.
        caption, warning, others: its caption, the out-of-distribution warning, and alternative captions.
        similar: the button that searches for similar pictures.
        seen: the state with the encoded picture.
        follow: takes an event, and adds one after it that fills in `others`.
    """

    picture: gr.Image
    caption: gr.Textbox
    warning: gr.HTML
    similar: gr.Button
    seen: gr.State
    others: gr.Label
    follow: object


def describing(session: Session, limits: Limits, tab: str, computed: dict, written: dict) -> Described:
    """Builds the column inside the current Blocks.

    Args:
        session: describes.
        limits: on labels.
        tab: the beginning of the warning's elem_id.
        computed, written: options of its events.
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

    seen = gr.State(None, time_to_live=SEEN_SECONDS)

    @on_page
    def on_describe(file: dict | None):
        seen = session.encode_image(check_picture(file))
        return session.caption(seen), warning_of([seen.ood_score]), None, seen

    @on_page
    def on_others(seen: EncodedImage | None, said: str):
        return session.caption_alternatives(seen, SHOWN_CAPTIONS) if said and seen else None

    @on_page
    def on_classify(file: dict | None, labels: str) -> dict[str, float]:
        return session.classify(check_picture(file), check_labels(labels.split(","), limits))

    def follow(event):
        """Computes the other captions after the first one is shown."""
        return event.then(on_others, [seen, caption], others, **computed)

    told = [caption, warning, others, seen]
    follow(describe.click(on_describe, picture, told, **written, **AS_FILE))
    classify.click(on_classify, [picture, labels], bars, **computed, **AS_FILE)
    labels.submit(on_classify, [picture, labels], bars, **computed, **AS_FILE)
    picture.clear(
        lambda: ("", None, None), None, [caption, others, bars], queue=False, api_visibility="private"
    )
    return Described(picture, caption, warning, similar, seen, others, follow)
