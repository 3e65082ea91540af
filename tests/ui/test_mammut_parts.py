"""The MaMMUT tab's handlers, without a server: which of two pictures is described, and what goes with one."""

from collections.abc import Callable
from types import SimpleNamespace

import gradio as gr
import pytest
from PIL import Image

from palm_demo.session import Description
from palm_demo.settings import load_settings
from palm_demo.ui import messages
from palm_demo.ui.deep_links import SettingsLinks
from palm_demo.ui.mammut import mammut_tab
from palm_demo.ui.mammut.contributing import Contributions
from palm_demo.ui.mammut.wall import Listed, Wall
from palm_demo.ui.streaming import Stops

REQUEST = SimpleNamespace(session_hash="visitor")
FILE, FILTERS = {"path": "mine.png"}, (12, "", "")
ITEMS = [Listed("0" * 64, "fox.png", "a fox")]


class NoPictures(list):
    """A gallery in which nothing is shown at first."""

    def sample(self, count: int, seed: int | None = None) -> list:
        return []

    def original(self, id: str) -> bytes:
        return b"of the gallery"


@pytest.fixture
def session() -> SimpleNamespace:
    """Captions tell where their picture came from."""
    return SimpleNamespace(
        gallery=NoPictures(),
        opened_image=lambda source: Image.new(
            "RGB", (8, 8), "red" if source == b"of the gallery" else "blue"
        ),
        encode_image=lambda image: SimpleNamespace(ood_score=None, image=image),
        describe=lambda encoded, count: Description(
            "picked" if encoded.image.getpixel((0, 0))[0] else "uploaded", {}
        ),
        search=lambda query, count, **asked: [query],
    )


@pytest.fixture
def handlers(session, tmp_path_factory, monkeypatch) -> dict[str, Callable]:
    """The tab's handlers by their names. The wall is what was sought."""
    monkeypatch.setattr(Wall, "hits", lambda wall, hits, what: [*wall.unchanged[1:], *hits])
    settings = load_settings()
    contributions = Contributions(session, settings.limits, settings.gallery)
    with gr.Blocks() as page, gr.Tabs(), gr.Tab("MaMMUT", id="mammut"):
        mammut_tab(
            session, settings.limits, contributions, Stops(), SettingsLinks(), tmp_path_factory.mktemp("page")
        )
    return {one.fn.__name__: one.fn for one in page.fns.values() if hasattr(one.fn, "__name__")}


def test_a_picture_that_is_picked_during_an_upload_keeps_its_caption(handlers):
    updates = handlers["on_upload"](REQUEST, FILE, *FILTERS)
    next(updates)
    _, caption, *_ = handlers["on_pick"](REQUEST, SimpleNamespace(index=0), ITEMS)
    assert caption == "picked"
    assert [*updates] == []


def test_of_two_searches_the_later_ones_pictures_are_shown(handlers, session, tmp_path):
    """Also where one is of a picture that was being described."""
    Image.new("RGB", (8, 8), "blue").save(tmp_path / "mine.png")
    updates = handlers["on_upload"](REQUEST, {"path": str(tmp_path / "mine.png")}, *FILTERS)
    next(updates)
    *_, found = handlers["on_search"](REQUEST, "goose", *FILTERS)
    assert found == "goose"
    *described, similar = [*updates][-1]
    assert described[1] == "uploaded" and similar == gr.skip()

    def searching_meanwhile(query, count, **asked):
        session.search = lambda query, count, **asked: [query]
        handlers["on_search"](REQUEST, "fox", *FILTERS)
        return [query]

    session.search = searching_meanwhile
    *_, found = handlers["on_search"](REQUEST, "goose", *FILTERS)
    assert found == gr.skip()


def test_labels_of_an_earlier_picture_are_not_shown_beneath_a_new_one(handlers, session):
    def picked_meanwhile(picture, labels):
        handlers["on_pick"](REQUEST, SimpleNamespace(index=0), ITEMS)
        return {"cat": 1.0}

    session.classify = picked_meanwhile
    assert handlers["on_classify"](REQUEST, FILE, "cat, dog") == gr.skip()
    session.classify = lambda picture, labels: {"dog": 1.0}
    assert handlers["on_classify"](REQUEST, FILE, "cat, dog") == {"dog": 1.0}


def test_a_picture_that_is_taken_away_takes_all_that_was_said_of_it_along(handlers):
    updates = handlers["on_upload"](REQUEST, FILE, *FILTERS)
    next(updates)
    caption, warning, others, *rest = handlers["on_clear"](REQUEST)
    assert caption == "" and rest == [None]
    assert warning["visible"] == others["visible"] == "hidden"
    assert [*updates] == []


def test_a_click_on_a_picture_that_is_not_shown_any_more_is_explained(handlers, monkeypatch):
    warnings = []
    monkeypatch.setattr(messages, "warn", warnings.append)
    handlers["on_pick"](REQUEST, SimpleNamespace(index=3), ITEMS)
    assert warnings == ["That picture is not shown any more; search again."]
