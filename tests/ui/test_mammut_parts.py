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
from palm_demo.ui.mammut.wall import Listed
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
def handlers(tmp_path_factory) -> dict[str, Callable]:
    """The tab's handlers by their names. Captions tell where their picture came from."""
    session = SimpleNamespace(
        gallery=NoPictures(),
        opened_image=lambda source: Image.new(
            "RGB", (8, 8), "red" if source == b"of the gallery" else "blue"
        ),
        encode_image=lambda image: SimpleNamespace(ood_score=None, image=image),
        describe=lambda encoded, count: Description(
            "picked" if encoded.image.getpixel((0, 0))[0] else "uploaded", {}
        ),
    )
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
