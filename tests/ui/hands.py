"""What a visitor's hands do in many tests, as slowly as hands are."""

from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

LEARNING_MS = 120_000
"""Milliseconds that a few steps of learning may take on a busy machine."""


def flamingo_said(page: Page) -> Locator:
    """What Flamingo said, one after the other."""
    return _messages(page, "bot")


def visitor_said(page: Page) -> Locator:
    """What was asked, one after the other."""
    return _messages(page, "user")


def _messages(page: Page, role: str) -> Locator:
    """Whole messages: each part of one, a picture or a text, is marked with who said it."""
    return page.locator("#flamingo-chat").get_by_test_id(role).locator("xpath=../..")


def press(page: Page, name: str) -> None:
    """Presses the button of this name."""
    page.get_by_role("button", name=name, exact=True).click()


def model_tab(page: Page, model: str) -> Locator:
    """The tab of a model, whose name says what one does there too."""
    return page.get_by_role("tab", name=model)


def open_tab(page: Page, name: str) -> Page:
    """Opens a tab, and gives the page."""
    page.get_by_role("tab", name=name, exact=True).click()
    return page


def pick(page: Page, label: str, option: str) -> None:
    """Picks an option of a dropdown."""
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=option, exact=True).click()
    expect(page.get_by_role("option")).to_have_count(0)


def open_settings(page: Page) -> None:
    """Opens the sampling settings. Gradio gives what it has just put on the screen its first values a frame
    later, over what a script has written there already: wait until the browser has nothing left to do."""
    page.get_by_role("button", name="Sampling settings").click()
    page.get_by_label("Stop at").locator("visible=true").wait_for()
    page.evaluate("() => new Promise(done => requestIdleCallback(done))")


def show(page: Page, *files: Path) -> None:
    """Adds a visitor's own pictures and videos to Flamingo's box, and waits until they are there."""
    box = page.locator("#flamingo-media")
    box.locator("input[type=file]").set_input_files(list(files))
    expect(box.get_by_label("Remove file")).to_have_count(len(files))


def ask(page: Page, question: str, files: Sequence[Path] = ()) -> None:
    """Asks Flamingo about files, or without any, as with the button."""
    if files:
        show(page, *files)
    page.get_by_label("Your question").fill(question)
    page.get_by_role("button", name="Ask", exact=True).click()


def open_reads(page: Page) -> None:
    """Opens what Flamingo reads, word by word."""
    page.get_by_role("button", name="What exactly Flamingo reads").click()
    page.locator("#flamingo-reads").wait_for()


def start_over(page: Page) -> None:
    """Takes away what was there before a visitor asked."""
    page.get_by_role("button", name="Start over", exact=True).click()
    expect(visitor_said(page).or_(flamingo_said(page))).to_have_count(0)


def unfold(page: Page, accordion: str) -> None:
    """Opens an accordion by its id."""
    page.locator(f"#{accordion} > button").click()


def shown(page: Page) -> Locator:
    """The pictures of the gallery that are seen, best first."""
    return page.locator("#mammut-gallery button")


def tokens_shown(page: Page) -> Locator:
    """The tokens of the token view, which are pressed to see what else might have come."""
    return page.locator("#palm-tokens-view").get_by_role("button")


RINGS = """count => {
    const pictures = [...document.querySelectorAll("#mammut-gallery button")];
    const borders = pictures.map(picture => getComputedStyle(picture).borderColor);
    const often = border => borders.filter(other => other === border).length;
    return borders.filter(border => often(border) < borders.length / 2).length === count;
}"""


def expect_rings(page: Page, count: int) -> None:
    """Waits until so many pictures of the gallery have a border of another colour than most."""
    page.mouse.move(0, 0)  # what the mouse is over has one too
    page.wait_for_function(RINGS, arg=count)
