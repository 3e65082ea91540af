"""The gallery searched: by words, by a picture, by both, among those that the filters leave."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import gradio as gr

from palm_demo.errors import GalleryError
from palm_demo.gallery import Hit, Item
from palm_demo.session import Session
from palm_demo.settings import Limits
from palm_demo.ui.components import no_warning
from palm_demo.ui.deep_links import SettingsLinks
from palm_demo.ui.mammut.describing import AS_IT_CAME, Described
from palm_demo.ui.messages import on_page, without_places
from palm_demo.ui.uploads import check_filters, check_hits, check_picture, check_prompt

WORDS = (
    "a goose",
    "a car on a white background",
    "five foxes",
    "three cupcakes",
    "a horse above a roller skate",
)
"""A new gallery has them."""
SHOWN = 24


class Listed(NamedTuple):
    """What is kept for a visitor of a picture that is shown: no pixels."""

    id: str
    name: str
    caption: str


def listed(items: Iterable[Item]) -> list[Listed]:
    return [Listed(item.id, item.name, item.caption) for item in items]


def finding(
    session: Session,
    limits: Limits,
    links: SettingsLinks,
    described: Described,
    computed: dict,
    written: dict,
) -> tuple[gr.State, gr.State]:
    """Builds the column inside the current Blocks: what is shown, and the one picked last, as states."""
    start = _some(session, 0)
    found, picked = gr.State(listed(start)), gr.State()
    with gr.Row(equal_height=True):
        words = gr.Textbox(
            label="Search with words",
            placeholder="a fox on a blue background",
            scale=4,
            elem_id="mammut-words",
        )
        count = gr.Slider(1, limits.hits, 12, step=1, label="How many", scale=2, elem_id="mammut-count")
    with gr.Row(equal_height=True):
        search = gr.Button("Search", variant="primary", elem_id="mammut-search")
        both = gr.Button("Search with words and picture", elem_id="mammut-both")
        others = gr.Button("Show other pictures", elem_id="mammut-others")
    with gr.Accordion("Filters", open=False, elem_id="mammut-filters"), gr.Row():
        contains = gr.Textbox(
            label="Caption contains",
            info="Only pictures whose caption has these words",
            placeholder="blue background",
            elem_id="mammut-contains",
        )
        since = gr.Textbox(
            label="Added since",
            info="Only pictures that came then or later, by UTC",
            placeholder="2026-01-31",
            elem_id="mammut-since",
        )
    links.button({"count": count})
    examples = gr.Dataset(
        components=[words],
        samples=[[text] for text in WORDS],
        label="Examples: one click searches",
        type="index",
        elem_id="mammut-examples",
    )
    heading = gr.HTML(_heading(session), elem_id="mammut-heading")
    gallery = gr.Gallery(
        _shown(start),
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

    def results(query, words: str, count: int, contains: str, since: str):
        filters = check_filters(contains, since, limits)
        hits = session.search(query, check_hits(int(count), limits), words=words, filters=filters)
        if not hits:
            raise GalleryError("no picture passes the filters; leave some words out, or take an earlier day")
        return _shown(hits), listed(hits), _heading(session, hits[0].alike)

    @on_page
    def on_search(query: str, *rest):
        return results(check_prompt(query, limits), "", *rest)

    @on_page
    def on_similar(file: dict | None, *rest):
        return results(check_picture(file), "", *rest)

    @on_page
    def on_both(file: dict | None, query: str, *rest):
        return results(check_picture(file), check_prompt(query, limits), *rest)

    @on_page
    def on_others():
        some = _some(session)
        return _shown(some), listed(some), _heading(session)

    @on_page
    def on_pick(event: gr.SelectData, items: list[Listed]):
        item = items[event.index]
        image = session.opened_image(session.gallery.original(item.id))
        seen = session.encode_image(image)
        return image, session.caption(seen), no_warning(), item, seen

    outputs, asked = [gallery, found, heading], [count, contains, since]
    search.click(on_search, [words, *asked], outputs, **computed)
    words.submit(on_search, [words, *asked], outputs, **computed)
    loaded = examples.click(
        lambda index: WORDS[index],
        examples,
        words,
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )
    loaded.then(on_search, [words, *asked], outputs, **computed)
    described.similar.click(on_similar, [described.picture, *asked], outputs, **computed, **AS_IT_CAME)
    both.click(on_both, [described.picture, words, *asked], outputs, **computed, **AS_IT_CAME)
    others.click(on_others, None, outputs, queue=False, api_visibility="private")
    told = [described.picture, described.caption, described.warning, picked, described.seen]
    described.follow(gallery.select(on_pick, found, told, **written))
    return found, picked


def _heading(session: Session, alike: bool = True) -> str:
    try:
        what = f"From a gallery of {len(session.gallery)} pictures: click one to describe it"
        what = what if alike else "Nothing like it is here. These are the nearest:"
    except GalleryError as error:
        what = f"There is no gallery: {without_places(str(error))}"
    return f"<h2 class='heading'>{html.escape(what)}</h2>"


def _some(session: Session, seed: int | None = None) -> list[Item]:
    """A few pictures of the gallery, always the same of one seed; none where it cannot be opened."""
    try:
        return session.gallery.sample(SHOWN, seed)
    except GalleryError:
        return []


def _shown(items: Sequence[Item]) -> list[tuple]:
    """(picture, what stands below it), of hits with their scores."""
    return [
        (item.image, f"{item.score:.2f} · {item.caption}" if isinstance(item, Hit) else item.caption)
        for item in items
    ]
