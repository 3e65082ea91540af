"""Settings as a link: copied and opened; what a stranger wrote into one is neither believed nor shown."""

from urllib.parse import parse_qs, urlsplit

import gradio as gr
import pytest
from playwright.sync_api import Locator, Page, expect

from palm_demo.session import CONTINUED
from palm_demo.ui.deep_links import LABEL, read
from palm_demo.ui.palm.compare import PROMPT
from palm_demo.ui.palm.voices import PLAIN, shown_name
from tests.ui.hands import model_tab, open_settings, press

SECRET = "the words that nobody else shall read"


def copied(page: Page) -> str:
    """The link of the tab that is open."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate("navigator.clipboard.writeText('')")
    press(page, LABEL)
    page.wait_for_function("async () => await navigator.clipboard.readText()")
    return page.evaluate("navigator.clipboard.readText()")


def opened(page: Page, link: str) -> Page:
    """The same visitor with a link."""
    other = page.context.new_page()
    other.goto(link)
    return other


def is_open(tab: Locator) -> None:
    expect(tab).to_have_attribute("aria-selected", "true")


def test_a_link_brings_settings_and_no_words(visit, session):
    page, scope = visit("PaLM"), session.scopes[-1]
    page.get_by_label("Begin a text").fill(SECRET)
    page.get_by_label("Voice", exact=True).click()
    page.get_by_role("option", name=shown_name(scope), exact=True).click()
    open_settings(page)
    page.locator("#palm-heat input[type=number]").fill("1.2")
    page.locator("#palm-seed input").fill("7")
    page.get_by_label("Stop at").locator("visible=true").fill(SECRET)
    page.get_by_label("Stop at").locator("visible=true").blur()
    link = copied(page)
    told = parse_qs(urlsplit(link).query)
    assert {name: value for name, (value,) in told.items()} == {
        "tab": "palm-write",
        "scope": scope,
        "strength": "1",
        "second": "base",
        "second_strength": "0.5",
        "tokens": "96",
        "temperature": "1.2",
        "top_k": "0",
        "top_p": "0.9",
        "min_p": "0",
        "penalty": "1.1",
        "seed": "7",
    }

    other = opened(page, link)
    is_open(model_tab(other, "PaLM"))
    expect(other.get_by_label("Voice", exact=True)).to_have_value(shown_name(scope))
    open_settings(other)
    expect(other.locator("#palm-heat input[type=number]")).to_have_value("1.2")
    expect(other.locator("#palm-seed input")).to_have_value("7")
    expect(other.get_by_label("Begin a text")).to_have_value("")
    expect(other.get_by_test_id("toast-body")).to_have_count(0)


def test_a_link_opens_a_tab_of_a_tab(visit, address, session):
    first, last = session.scopes[0], session.scopes[-1]
    page = opened(visit("Flamingo"), f"{address}?tab=palm-columns&scopes={last},{first}&tokens=5&seed=1")
    is_open(page.get_by_role("tab", name="Side by side", exact=True))
    press(page, "Write side by side")
    for place, scope in enumerate([None, last, first]):
        text = session.generate(PROMPT, scope, max_new_tokens=5, seed=1)
        expect(page.locator(f"#palm-columns-{place} textarea")).to_have_value(PROMPT + text)
    page = opened(page, f"{address}?tab=mammut&count=3")
    is_open(model_tab(page, "MaMMUT"))
    page.locator("#mammut-filters > button").click()
    expect(page.locator("#mammut-count input[type=number]")).to_have_value("3")


def test_what_cannot_be_set_is_said_and_the_page_lives_on(visit, address, settings):
    script = "<img src=x onerror=alert(1)>"
    link = f"{address}?tab=palm-write&scope={script}&tokens=9999&temperature={script}&seed=some&more=1"
    page = opened(visit("Flamingo"), link)
    is_open(model_tab(page, "PaLM"))
    said = page.get_by_test_id("toast-body")
    expect(said).to_contain_text(f"New tokens, at most: from 1 to {settings.limits.new_tokens}.")
    for name in ("Voice", "Temperature", "Seed"):
        expect(said).to_contain_text(name)
    expect(page.locator("img[src=x]")).to_have_count(0)
    open_settings(page)
    expect(page.locator("#palm-length input[type=number]")).to_have_value(str(settings.limits.new_tokens))
    expect(page.locator("#palm-heat input[type=number]")).to_have_value(str(CONTINUED.temperature))
    expect(page.get_by_label("Voice", exact=True)).to_have_value(PLAIN)
    page = opened(page, f"{address}?tab={script}")
    expect(page.get_by_test_id("toast-body")).to_contain_text("a tab that is not on this page")
    expect(page.locator("img[src=x]")).to_have_count(0)


SLIDER = {"minimum": 0.05, "maximum": 1, "step": 0.05, "label": "Top p"}
CHOICES = ["base", "doyle", "carroll", "verne"]


@pytest.mark.parametrize(
    ("control", "text", "value"),
    [
        (gr.Slider(**SLIDER), "0.5", 0.5),
        (gr.Slider(**SLIDER), "0.52", 0.5),
        (gr.Slider(1, 256, step=1), "12", 12),
        (gr.Number(precision=0), "7", 7),
        (gr.Number(precision=0), "-1", -1),
        (gr.Checkbox(), "true", True),
        (gr.Checkbox(), "false", False),
        (gr.Dropdown(CHOICES), "doyle", "doyle"),
        (gr.Dropdown(CHOICES, multiselect=True, max_choices=2), "doyle,base", ["doyle", "base"]),
        (gr.Dropdown(CHOICES, multiselect=True), "", []),
    ],
)
def test_what_a_link_says_is_set(control, text, value):
    assert read(control, text) == (value, None)


@pytest.mark.parametrize(
    ("control", "text", "value"),
    [
        (gr.Slider(**SLIDER), "7", 1),
        (gr.Slider(**SLIDER), "-7", 0.05),
        (gr.Slider(**SLIDER), "1e999", None),
        (gr.Slider(**SLIDER), "nan", None),
        (gr.Slider(**SLIDER), "", None),
        (gr.Number(precision=0), "1.5", None),
        (gr.Number(precision=0), "²", None),
        (gr.Number(precision=0), "9" * 16, None),
        (gr.Checkbox(), "yes", None),
        (gr.Dropdown(CHOICES), "own/letters", None),
        (gr.Dropdown(CHOICES, multiselect=True, max_choices=2), "doyle,own/x", ["doyle"]),
        (gr.Dropdown(CHOICES, multiselect=True, max_choices=2), "doyle,base,verne", ["doyle", "base"]),
    ],
)
def test_what_cannot_be_is_left_or_brought_within_its_limits(control, text, value):
    given, note = read(control, text)
    assert given == (gr.skip() if value is None else value)
    assert note


def test_a_free_text_cannot_be_shared():
    with pytest.raises(TypeError, match="Textbox"):
        read(gr.Textbox(), "words")
