"""The MaMMUT tab: a picture described, named and found again."""

from random import Random

import gradio as gr

from palm_demo.gallery import Hit
from palm_demo.session import Session
from palm_demo.settings import Limits
from palm_demo.ui.messages import on_page
from palm_demo.ui.sources import Paper
from palm_demo.ui.strangeness import no_warning, warning_about, warning_shown
from palm_demo.ui.uploads import check_hits, check_labels, check_picture, check_prompt

TAB = "mammut"
PAPER = Paper(
    "MaMMUT: A Simple Architecture for Joint Learning for MultiModal Tasks",
    "Kuo et al., 2023",
    "https://arxiv.org/abs/2303.16839",
)
LABELS = "cat, dog, car, red apple, guitar, umbrella, rocket, tree"
WORDS = (
    "a cat",
    "something to eat",
    "a car on a blue background",
    "three birds",
    "a dog to the left of a ball",
)
SHOWN = 24


def mammut_tab(session: Session, limits: Limits) -> None:
    """Builds the tab inside the current Blocks."""
    start = _some(session, Random(0))
    found = gr.State(start)
    with gr.Row():
        with gr.Column(scale=4):
            picture = gr.Image(
                label="Picture",
                format="png",  # what a click on the gallery puts here stays exactly that picture
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
            warning = warning_shown(TAB)
            labels = gr.Textbox(
                LABELS,
                label="Labels to choose from",
                info="Any nouns, with commas between them",
                max_lines=3,
                elem_id="mammut-labels",
            )
            classify = gr.Button("Choose a label", elem_id="mammut-classify")
            bars = gr.Label(label="How likely each label is", num_top_classes=8, elem_id="mammut-bars")
        with gr.Column(scale=7):
            with gr.Row(equal_height=True):
                words = gr.Textbox(
                    label="Search with words",
                    placeholder="a cat on a blue background",
                    scale=4,
                    elem_id="mammut-words",
                )
                count = gr.Slider(
                    1, limits.hits, 12, step=1, label="How many", scale=2, elem_id="mammut-count"
                )
            with gr.Row():
                search = gr.Button("Search", variant="primary", elem_id="mammut-search")
                others = gr.Button("Show other pictures", elem_id="mammut-others")
            gr.Examples([[text] for text in WORDS], words, label="Try")
            gr.HTML(_heading(len(session.gallery)))
            gallery = gr.Gallery(
                start,
                label="Gallery",
                show_label=False,
                columns=6,
                height="auto",
                allow_preview=False,
                interactive=False,
                object_fit="cover",
                buttons=[],
                elem_id="mammut-gallery",
                elem_classes="captioned",
            )

    @on_page
    def on_describe(file: dict | None):
        image = check_picture(file)
        return session.caption(image), warning_about(session, [image])

    @on_page
    def on_classify(file: dict | None, labels: str) -> dict[str, float]:
        return session.classify(check_picture(file), check_labels(labels.split(","), limits))

    @on_page
    def on_search(query: str, count: int):
        return _found(session.search(check_prompt(query, limits), check_hits(int(count), limits)))

    @on_page
    def on_similar(file: dict | None, count: int):
        return _found(session.search(check_picture(file), check_hits(int(count), limits)))

    @on_page
    def on_pick(event: gr.SelectData, pictures: list):
        image = pictures[event.index][0]
        return image, session.caption(image), no_warning()

    computed = {
        "concurrency_id": "model",
        "concurrency_limit": limits.concurrency,
        "api_visibility": "private",
    }
    written = {"concurrency_limit": None, "api_visibility": "private"}  # captions have a line of their own
    # gr.Image would decode a picture before any check of ours: take the file as it came
    as_it_came = {"preprocess": False}
    results = [gallery, found]
    describe.click(on_describe, picture, [caption, warning], **written, **as_it_came)
    classify.click(on_classify, [picture, labels], bars, **computed, **as_it_came)
    labels.submit(on_classify, [picture, labels], bars, **computed, **as_it_came)
    similar.click(on_similar, [picture, count], results, **computed, **as_it_came)
    search.click(on_search, [words, count], results, **computed)
    words.submit(on_search, [words, count], results, **computed)
    gallery.select(on_pick, found, [picture, caption, warning], **written)
    others.click(
        lambda: _page(_some(session, Random())), None, results, queue=False, api_visibility="private"
    )


def _heading(count: int) -> str:
    return f"<h2 class='heading'>From a gallery of {count} pictures: click one to describe it</h2>"


def _some(session: Session, rng: Random) -> list[tuple]:
    """(picture, what stands below it) of a few pictures of the gallery."""
    gallery = session.gallery
    places = rng.sample(range(len(gallery)), min(SHOWN, len(gallery)))
    return [(gallery.images[place], gallery.captions[place]) for place in places]


def _found(hits: list[Hit]):
    return _page([(hit.image, f"{hit.score:.2f} · {hit.caption}") for hit in hits])


def _page(pictures: list[tuple]):
    """What the gallery shows, and what the server remembers of it for the next click."""
    return pictures, pictures
