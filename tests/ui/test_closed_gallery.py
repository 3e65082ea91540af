"""A gallery that other weights made: one line says so, the rest works, and its owner rebuilds it in place."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from playwright.sync_api import expect

from palm_demo import world
from palm_demo.gallery import open_gallery
from palm_demo.gallery.ingest import as_row
from palm_demo.gallery.pictures import as_png, decode
from palm_demo.session import Session
from palm_demo.ui import messages
from palm_demo.ui.deep_links import SettingsLinks
from palm_demo.ui.mammut import mammut_tab, rebuilding
from palm_demo.ui.mammut.contributing import Contributions
from palm_demo.ui.streaming import Stops
from tests.ui.hands import press, shown

PICTURES = 3
REQUEST = SimpleNamespace(session_hash="visitor")


@pytest.fixture
def closed(session, tmp_path) -> Session:
    """A session whose gallery other weights made: three pictures, and one whose file is none any more."""
    rows = []
    for number in range(PICTURES + 1):
        scene = world.sample_question(Random(f"closed/{number}"), "what_is_where").media[0]
        picture = decode(as_png(world.render(scene, 64)), f"scene {number}.png", session.media_limits)
        rows.append(
            as_row(picture, np.eye(1, session.mammut.embedding_dim, number, np.float32)[0], "a scene")
        )
    rows[-1] = replace(rows[-1], name="broken.png", original=b"words", thumbnail=b"words")
    open_gallery(tmp_path / "gallery", "earlier0", session.mammut.embedding_dim, rows)
    other = copy.copy(session)
    other.__dict__.pop("gallery", None)
    other.gallery_place = str(tmp_path / "gallery")
    return other


@pytest.fixture
def handlers(closed, settings, tmp_path) -> dict[str, Callable]:
    """The handlers of the tab by their names."""
    contributions = Contributions(closed, settings.limits, settings.gallery)
    with gr.Blocks() as page, gr.Tabs(), gr.Tab("MaMMUT", id="mammut"):
        mammut_tab(closed, settings.limits, contributions, Stops(), SettingsLinks(), tmp_path)
    return {one.fn.__name__: one.fn for one in page.fns.values() if hasattr(one.fn, "__name__")}


@pytest.fixture
def warnings(monkeypatch) -> list[str]:
    warnings = []
    monkeypatch.setattr(messages, "warn", warnings.append)
    return warnings


def line_of(update: list) -> str:
    return update[0]


def test_a_picture_is_described_without_a_word_about_the_gallery(handlers, warnings, session, media):
    file = {"path": str(media / "red.png")}
    *_, last = handlers["on_upload"](REQUEST, file, 12, "", "")
    assert last[1] == session.caption(media / "red.png")
    assert warnings == []


@pytest.mark.parametrize("local", [True, False])
def test_the_line_says_what_works_and_offers_the_button_to_the_owner_alone(handlers, monkeypatch, local):
    monkeypatch.setattr(rebuilding, "is_local", lambda request: local)
    line, row, *_ = handlers["on_load"](REQUEST)
    assert "Captions and labels work" in line and "gallery rebuild</code>" in line
    assert row["visible"] is local


def test_a_stranger_cannot_rebuild(handlers, warnings, monkeypatch, closed):
    monkeypatch.setattr(rebuilding, "is_local", lambda request: False)
    [*handlers["on_rebuild"](REQUEST)]
    (warning,) = warnings
    assert "Only whoever runs this page" in warning
    assert rebuilding.why_closed(closed) is not None


def test_a_rebuild_leaves_out_what_fails_and_shows_the_rest(handlers, monkeypatch, closed):
    monkeypatch.setattr(rebuilding, "is_local", lambda request: True)
    first, *_, last = handlers["on_rebuild"](REQUEST)
    assert f"0 of {PICTURES + 1} pictures" in line_of(first)
    assert f"Rebuilt: {PICTURES} pictures can be searched." in line_of(last)
    assert "broken.png was left out" in line_of(last)
    assert len(closed.gallery) == PICTURES
    assert handlers["on_load"](REQUEST)[0] == ""


def test_the_owner_rebuilds_it_in_place(visit, closed, settings, serve, media: Path):
    page = visit("MaMMUT", serve(closed, settings))
    expect(page.locator("#mammut-closed")).to_contain_text("other weights made this gallery")
    page.locator("#mammut-picture input[type=file]").set_input_files(media / "red.png")
    expect(page.get_by_label("MaMMUT sees")).to_have_value(closed.caption(media / "red.png"))
    expect(page.get_by_test_id("toast-body")).to_have_count(0)
    press(page, "Rebuild it")
    expect(page.locator("#mammut-closed")).to_contain_text(f"Rebuilt: {PICTURES} pictures")
    expect(shown(page)).to_have_count(PICTURES)
    expect(page.get_by_role("button", name="Rebuild it")).to_have_count(0)
    page.get_by_label("Search with words").fill("a scene")
    press(page, "Search")
    expect(page.locator("#mammut-heading")).to_contain_text("most like")
    expect(page.get_by_test_id("toast-body")).to_have_count(0)
