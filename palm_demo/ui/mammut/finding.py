"""Searches the gallery by words, by a picture or by both, with filters."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from palm_demo.errors import GalleryError
from palm_demo.media import is_shown
from palm_demo.session import Session
from palm_demo.settings import Limits
from palm_demo.ui.choices import chips, choices
from palm_demo.ui.components import no_warning, warning_of
from palm_demo.ui.deep_links import SettingsLinks
from palm_demo.ui.mammut.describing import (
    AS_FILE,
    PICTURE,
    SHOWN_CAPTIONS,
    Described,
    alternatives,
    new_picture,
    no_alternatives,
)
from palm_demo.ui.mammut.rebuilding import why_closed
from palm_demo.ui.mammut.wall import Listed, Wall
from palm_demo.ui.messages import on_page
from palm_demo.ui.press_feedback import scrolling_to
from palm_demo.ui.streaming import Stops
from palm_demo.ui.uploads import NOTHING_SOUGHT, check_filters, check_hits, check_picture, check_prompt

WORDS = ("goose", "car on a white background", "five foxes", "cupcakes", "horse above a roller skate")
"""Example searches. The starter gallery has pictures for them."""
WALL = "mammut-wall"
"""The name of a search in `Stops`. Of two at once, only the later one's pictures are shown."""
FIRST_ROW = 200
"""Pixels below the heading of what was found, in which the first pictures are seen."""


@dataclass(frozen=True)
class SearchBox:
    """The components of the search box. `finding` adds their events.

    Attributes:
        words: what is searched for.
        whole: all of it.
        search, both, others: buttons for words, for words and picture, and for other pictures.
        examples: example searches.
        settings: the number of pictures, and the filters.
    """

    whole: gr.Column
    words: gr.Textbox
    search: gr.Button
    both: gr.Button
    others: gr.Button
    examples: gr.HTML
    settings: list


def search_box(limits: Limits, links: SettingsLinks, shown: bool) -> SearchBox:
    """Builds the top of the tab inside the current Blocks. shown: whether there is a gallery to search."""
    with gr.Column(visible=shown) as whole:
        with gr.Row(elem_id="mammut-ask"):
            words = gr.Textbox(
                label="Search with words",
                placeholder="fox, or: a fox on a blue background",
                scale=6,
                min_width=160,
                elem_id="mammut-words",
            )
            search = gr.Button("Search", variant="primary", scale=0, min_width=100, elem_id="mammut-search")
        examples = choices(chips(WORDS), "Examples: one press searches", "mammut-examples", "chips wide")
        with gr.Accordion("More ways to search", open=False, elem_id="mammut-filters"):
            with gr.Row():
                count = gr.Slider(1, limits.hits, 12, step=1, label="How many", elem_id="mammut-count")
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
            with gr.Row():
                both = gr.Button("Search with words and picture", elem_id="mammut-both")
                others = gr.Button("Show other pictures", elem_id="mammut-others")
                links.button({"count": count})
    return SearchBox(whole, words, search, both, others, examples, [count, contains, since])


def finding(
    session: Session,
    limits: Limits,
    stops: Stops,
    box: SearchBox,
    wall: Wall,
    described: Described,
    computed: dict,
) -> gr.State:
    """Adds the events of the search. Returns the state with the picture that was clicked last."""
    picked = gr.State()

    def found_by(query, words: str, what: str, count: int, contains: str, since: str):
        filters = check_filters(contains, since, limits)
        hits = session.search(query, check_hits(int(count), limits), words=words, filters=filters)
        if not hits:
            raise GalleryError("no picture passes the filters; leave some words out, or take an earlier day")
        return wall.hits(hits, what)

    def newest(request: gr.Request, query, *asked):
        """What is found, unless something else has been sought or shown meanwhile."""
        work = stops.arm(request.session_hash, WALL)
        shown = found_by(query, *asked)
        return shown if stops.wanted(request.session_hash, WALL, work) else wall.unchanged

    @on_page
    def on_search(request: gr.Request, query: str, *rest):
        words = check_prompt(query, limits, NOTHING_SOUGHT)
        return newest(request, words, "", f"“{words.strip()}”", *rest)

    @on_page
    def on_similar(request: gr.Request, file: dict | None, *rest):
        return newest(request, check_picture(file), "", "this picture", *rest)

    @on_page
    def on_both(request: gr.Request, file: dict | None, query: str, *rest):
        words = check_prompt(query, limits, NOTHING_SOUGHT)
        return newest(request, check_picture(file), words, "both", *rest)

    @on_page
    def on_upload(request: gr.Request, file: dict | None, *rest):
        """Handles a new picture: shows it, describes it, and then searches for similar ones.

        A format that browsers cannot show is replaced by the decoded picture.
        """
        path, work = check_picture(file), new_picture(stops, request.session_hash)
        seeking = stops.arm(request.session_hash, WALL)
        yield gr.skip(), "", no_warning(), no_alternatives(), None, *wall.unchanged
        image = session.opened_image(path)
        encoded = session.encode_image(image)
        said = session.describe(encoded, SHOWN_CAPTIONS)
        if not stops.wanted(request.session_hash, PICTURE, work):
            return
        description = said.caption, warning_of([encoded.ood_score]), alternatives(said), gr.skip()
        yield gr.skip() if is_shown(path) else image, *description, *wall.unchanged
        if why_closed(session) is not None:  # the page says so where the gallery would be
            return
        similar = found_by(encoded, "", "this picture", *rest)
        if stops.wanted(request.session_hash, PICTURE, work) and stops.wanted(
            request.session_hash, WALL, seeking
        ):
            yield gr.skip(), *description, *similar

    @on_page
    def on_others(request: gr.Request):
        stops.drop(request.session_hash, WALL)
        return wall.others()

    @on_page
    def on_pick(request: gr.Request, event: gr.SelectData, items: list[Listed]):
        if not isinstance(event.index, int) or not 0 <= event.index < len(items):
            raise GalleryError("that picture is not shown any more; search again")
        item, work = items[event.index], new_picture(stops, request.session_hash)
        image = session.opened_image(session.gallery.original(item.id))
        encoded = session.encode_image(image)
        said = session.describe(encoded, SHOWN_CAPTIONS)
        if not stops.wanted(request.session_hash, PICTURE, work):
            return gr.skip()
        return image, said.caption, no_warning(), alternatives(said), None, item

    def scroll_to(event, place: str, room: int = 0):
        return event.then(None, js=scrolling_to(place, room), api_visibility="private")

    words, settings = box.words, box.settings

    def load(event: gr.SelectData):
        return WORDS[event.index]

    loaded = box.examples.select(
        load,
        None,
        words,
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )
    for begin in (box.search.click, words.submit, loaded.then):
        found = begin(on_search, [words, *settings], wall.outputs, **computed)
        scroll_to(wall.without_ring(found), "mammut-heading", FIRST_ROW)
    alone = [described.picture, *settings]
    wall.without_ring(described.similar.click(on_similar, alone, wall.outputs, **computed, **AS_FILE))
    outputs = [described.picture, *described.outputs]
    uploaded = described.picture.upload(on_upload, alone, [*outputs, *wall.outputs], **computed, **AS_FILE)
    wall.without_ring(uploaded)
    both = [described.picture, words, *settings]
    found = box.both.click(on_both, both, wall.outputs, **computed, **AS_FILE)
    scroll_to(wall.without_ring(found), "mammut-heading", FIRST_ROW)
    wall.without_ring(box.others.click(on_others, None, wall.outputs, queue=False, api_visibility="private"))
    picked_one = wall.gallery.select(on_pick, wall.found, [*outputs, picked], **computed)
    scroll_to(picked_one, "mammut-picture")
    return picked
