"""Every part of every tab with a result in it: it bars nobody's way, fits a phone, and keys are enough."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from palm_demo.inference.lora_finetuning import Progress
from palm_demo.ui.flamingo.presets import TILES
from palm_demo.ui.palm.voices import shown_name
from tests.ui.hands import flamingo_said, model_tab, press, start_over, tokens_shown

BEGUN = re.compile(r"^It was a dark and stormy night, and\s*\S")
TABS = ("Flamingo", "MaMMUT", "PaLM")
PHONE = {"width": 390, "height": 844}
MOST_KEYS = 120
DONE = 120_000
"""Milliseconds that four texts may take on a busy machine."""


@pytest.fixture(autouse=True)
def taught_at_once(session, monkeypatch):
    """Teachings of two steps that compute nothing."""

    def finetune(text, *, cancelled, **settings):
        adapters = [session.palm.model.new_adapter(2) for _ in range(2)]
        yield Progress(0, 0.0, None, 2.0, 2.0, 2.0, adapters[0])
        yield Progress(1, 1.0, 4.0, 1.9, 2.0, 1.9, adapters[1])

    monkeypatch.setattr(session, "finetune", finetune)


def open_part(page: Page, tabs: str, name: str) -> None:
    """Opens a tab of a tab."""
    page.locator(f"#{tabs}").get_by_role("tab", name=name, exact=True).click()


def unfold(page: Page) -> None:
    """Opens every accordion that can be seen."""
    for content in page.get_by_test_id("accordion-content").all():
        button = content.locator("xpath=preceding-sibling::button")
        if button.is_visible() and not content.is_visible():
            button.click()
            expect(content).to_be_visible()


def flamingo(page: Page) -> Iterator[str]:
    yield "the first screen"
    page.locator("#flamingo-samples button").nth(list(TILES).index("way")).click()
    press(page, "Show where it looked")
    expect(page.locator("#flamingo-maps img").first).to_be_visible()
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_enabled()
    unfold(page)
    yield "an answer and where it looked"
    open_part(page, "flamingo-ways", "Teach by example")
    unfold(page)
    press(page, "Example: a new word")
    expect(page.locator("#flamingo-prompt").get_by_text("<media>", exact=True).first).to_be_visible()
    press(page, "Ask after the examples")
    expect(page.locator("#flamingo-taught-answer")).to_contain_text("the page")
    expect(page.get_by_role("button", name="Ask after the examples", exact=True)).to_be_enabled()
    yield "examples"
    open_part(page, "flamingo-ways", "Make a scene")
    press(page, "Surprise me")
    expect(page.locator("#scene-caption")).to_contain_text("background")
    yield "a scene"


def mammut(page: Page) -> Iterator[str]:
    page.locator("#mammut-gallery button").first.click()
    expect(page.locator("#mammut-others-said")).to_contain_text("%")
    unfold(page)
    press(page, "Choose a label")
    expect(page.locator("#mammut-bars")).to_contain_text("%")
    press(page, "Compare")
    expect(page.locator("#mammut-matrix tbody tr")).to_have_count(5)
    yield "a caption, labels and a comparison"


def palm(page: Page) -> Iterator[str]:
    page.locator("#palm-samples button").first.click()
    expect(page.get_by_label("PaLM writes")).to_have_value(BEGUN)
    expect(page.get_by_role("button", name="Continue", exact=True)).to_be_enabled()
    unfold(page)
    yield "a text"
    open_part(page, "palm-tabs", "Side by side")
    unfold(page)
    press(page, "Write side by side")
    expect(page.locator("#palm-columns-1 textarea")).to_have_value(BEGUN)
    expect(page.get_by_role("button", name="Stop all")).to_be_disabled(timeout=DONE)
    yield "columns"
    open_part(page, "palm-tabs", "Token view")
    press(page, "Look at each token")
    tokens_shown(page).nth(2).click()
    expect(page.locator("#palm-tokens-best")).to_contain_text("%")
    yield "tokens"
    open_part(page, "palm-tabs", "Who wrote this?")
    page.get_by_role("button", name="A play").click()
    expect(page.locator("#palm-authors-said")).to_contain_text(re.compile("then by|Probably none"))
    expect(page.locator("#palm-authors-run")).to_be_enabled(timeout=DONE)
    yield "authors"
    open_part(page, "palm-tabs", "Teach a voice")
    unfold(page)
    press(page, "Take 300 proverbs")
    expect(page.get_by_label("Name of the voice")).to_have_value("proverbs")
    press(page, "Teach")
    expect(page.locator("#palm-teaching-said")).to_contain_text("proverbs is ready")
    expect(page.locator("#palm-teaching-run")).to_be_enabled(timeout=DONE)
    yield "a taught scope"


WALKS = dict(zip(TABS, (flamingo, mammut, palm), strict=True))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("tab", TABS)
def test_axe_finds_nothing_serious(visit, address, serious, tab, theme):
    page = visit(tab, f"{address}?__theme={theme}")
    found = {part: serious(page) for part in WALKS[tab](page)}
    assert found and not any(found.values()), found


@pytest.mark.parametrize("tab", TABS)
def test_a_phone_needs_no_sideways_scrolling(visit, tab):
    page = visit(tab)
    page.set_viewport_size(PHONE)
    widths = {part: page.evaluate("document.documentElement.scrollWidth") for part in WALKS[tab](page)}
    assert widths and max(widths.values()) <= PHONE["width"], widths


def test_a_phone_shows_all_pictures_of_the_gallery(visit):
    page = visit("MaMMUT")
    page.set_viewport_size(PHONE)
    pictures = page.locator("#mammut-gallery button")
    expect(pictures.last).to_be_visible()
    boxes = [picture.bounding_box() for picture in pictures.all()]
    assert max(box["x"] + box["width"] for box in boxes) <= PHONE["width"]


def go_to(page: Page, goal: Locator) -> None:
    """From where the keyboard is, on to something by the Tab key alone."""
    for _ in range(MOST_KEYS):
        if goal.evaluate("goal => goal === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{goal} was not reached with {MOST_KEYS} keys")


def open_by_keys(page: Page, tab: str) -> None:
    go_to(page, model_tab(page, tab))
    page.keyboard.press("Enter")


def test_keys_alone_ask_flamingo_and_see_where_it_looked(visit):
    page = visit("Flamingo")
    start_over(page)
    go_to(page, page.locator("#flamingo-samples button").first)
    page.keyboard.press("Enter")
    expect(flamingo_said(page)).to_have_count(1)
    go_to(page, page.get_by_role("button", name="Show where it looked"))
    page.keyboard.press("Enter")
    expect(page.locator("#flamingo-maps img")).to_be_visible()


def test_keys_alone_find_pictures_and_describe_one(visit, session):
    page = visit("Flamingo")
    open_by_keys(page, "MaMMUT")
    go_to(page, page.get_by_label("Search with words"))
    page.keyboard.type("a cat on a blue background")
    page.keyboard.press("Enter")
    best = session.search("a cat on a blue background", 1)[0]
    first = page.locator("#mammut-gallery button").first
    expect(first).to_contain_text(best.caption)
    go_to(page, first)
    page.keyboard.press("Enter")
    expect(page.get_by_label("MaMMUT sees")).not_to_have_value("")


def test_keys_alone_have_palm_write_in_a_scope(visit, session):
    page = visit("Flamingo")
    open_by_keys(page, "PaLM")
    go_to(page, page.get_by_label("Begin a text"))
    page.keyboard.type("The night was")
    scope, name = page.get_by_label("Voice", exact=True), shown_name(session.scopes[0])
    go_to(page, scope)
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type(name)
    page.keyboard.press("Enter")
    expect(scope).to_have_value(name)
    go_to(page, page.get_by_role("button", name="Continue", exact=True))
    page.keyboard.press("Enter")
    expect(page.get_by_label("PaLM writes")).to_have_value(re.compile("^The night was."))
