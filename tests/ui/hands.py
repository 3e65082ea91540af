"""What a visitor's hands do in many tests, as slowly as hands are."""

from playwright.sync_api import Page


def open_settings(page: Page) -> None:
    """Opens the sampling settings. Gradio gives what it has just put on the screen its first values a frame
    later, over what a script has written there already: wait until the browser has nothing left to do."""
    page.get_by_role("button", name="Sampling settings").click()
    page.get_by_label("Stop at").locator("visible=true").wait_for()
    page.evaluate("() => new Promise(done => requestIdleCallback(done))")
