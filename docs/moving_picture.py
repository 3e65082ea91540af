"""Draws docs/page.webp, the moving picture of the page in the README: `python docs/moving_picture.py`.

Starts the page with the bundled weights, does in a browser what a visitor does first, and keeps what is seen:
what Flamingo looked at for its answer, new words that it learns, a search among pictures, a text in an
author's voice. Needs the extra `test` and a Chromium. Run it again when the page looks different.
"""

import io
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "page.webp"
VIEW = {"width": 1280, "height": 960}
SHOWN = (960, 720)
"""Pixels of the page, and of the picture."""
QUALITY = 72
READ, GLANCE, STEP = 2600, 900, 220
"""Milliseconds: to read what is new, to see where the pointer is, and between two pieces of a text."""
PATIENCE_MS = 120_000
FADE_MS = 1500
"""Until what is new is no longer pale."""

POINTER = """() => {
    const dot = document.createElement('div');
    Object.assign(dot.style, {
        position: 'fixed', zIndex: 9999, width: '22px', height: '22px', margin: '-11px 0 0 -11px',
        left: '-50px', borderRadius: '50%', background: 'rgba(214, 51, 108, .55)', border: '2px solid white',
        pointerEvents: 'none',
    });
    document.body.append(dot);
    document.addEventListener('mousemove', at => {
        dot.style.left = `${at.clientX}px`; dot.style.top = `${at.clientY}px`;
    });
}"""
"""A screenshot has no pointer."""

SEARCHED = "a fox on a blue background"
FOUND = """words => {
    const gallery = document.querySelector('#mammut-gallery');
    const loaded = [...gallery.querySelectorAll('img')].every(one => one.complete);
    return loaded && gallery.innerText.includes(words);
}"""
"""Whether the pictures that were searched for are seen."""


class Film:
    """Screenshots of a page, each with how long it is shown."""

    def __init__(self, page: Page):
        self.page = page
        self.frames: list[Image.Image] = []
        self.milliseconds: list[int] = []

    def hold(self, milliseconds: int) -> None:
        """Shows the page as it is for this long."""
        seen = (
            Image.open(io.BytesIO(self.page.screenshot()))
            .convert("RGB")
            .resize(SHOWN, Image.Resampling.LANCZOS)
        )
        if self.frames and self.frames[-1] == seen:
            self.milliseconds[-1] += milliseconds
        else:
            self.frames.append(seen)
            self.milliseconds.append(milliseconds)

    def show(self, what: Locator) -> None:
        """Scrolls until something stands at the top."""
        what.evaluate("what => what.scrollIntoView({block: 'start'})")

    def watch(self, done: Callable[[], bool]) -> None:
        """Shows a text as it grows."""
        while not done():
            self.hold(STEP)
            self.page.wait_for_timeout(STEP)

    def press(self, what: Locator) -> None:
        """Moves the pointer to something, shows that, and presses it."""
        what.scroll_into_view_if_needed()
        what.hover()
        self.hold(GLANCE)
        what.click()

    def save(self, path: Path) -> None:
        first, *rest = self.frames
        first.save(
            path,
            save_all=True,
            append_images=rest,
            duration=self.milliseconds,
            loop=0,
            quality=QUALITY,
            method=6,
        )


def ask_flamingo(film: Film) -> None:
    page = film.page
    film.hold(READ)
    for word in page.locator("#flamingo-words label").all()[:2]:
        film.press(word)
        page.wait_for_timeout(FADE_MS)
        film.hold(READ // 2)
    film.press(page.get_by_role("button", name="Learn two new words"))
    answered(page)
    film.hold(READ)
    film.press(page.get_by_role("button", name="Show where it looked"))
    page.locator("#flamingo-maps img").first.wait_for()
    page.wait_for_timeout(FADE_MS)
    film.hold(READ)
    page.evaluate("scrollTo(0, 0)")


def answered(page: Page) -> None:
    """Waits until the page has said whether an example is right."""
    page.get_by_role("button", name="Show where it looked").wait_for()
    page.wait_for_function("() => document.querySelector('#flamingo-stop').disabled")
    page.wait_for_timeout(FADE_MS)


def search_with_mammut(film: Film) -> None:
    page = film.page
    page.get_by_role("tab", name="MaMMUT").click()
    film.show(page.get_by_role("tab", name="MaMMUT"))
    page.locator("#mammut-words textarea, #mammut-words input").first.fill(SEARCHED)
    film.press(page.locator("#mammut-search"))
    page.wait_for_function(FOUND, arg=SEARCHED)
    page.wait_for_timeout(FADE_MS)
    film.hold(READ)


def write_with_palm(film: Film) -> None:
    page = film.page
    page.get_by_role("tab", name="PaLM").click()
    film.press(page.locator("#palm-samples button").filter(has_text="Shakespeare"))
    page.wait_for_function("() => !document.querySelector('#palm-stop').disabled")
    page.evaluate("scrollTo(0, 0)")
    film.watch(page.locator("#palm-stop").is_disabled)
    film.hold(READ)


@contextmanager
def served() -> Iterator[str]:
    """The address of a page of its own, which keeps nothing, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        own = {
            "PORT": str(port),
            "PALM_DEMO_GALLERY": f"{folder}/gallery",
            "GRADIO_TEMP_DIR": f"{folder}/uploads",
        }
        page = subprocess.Popen(
            [sys.executable, "app.py"], cwd=ROOT, env=os.environ | own | {"PALM_DEMO_PROFILE": "tiny"}
        )
        address = f"http://127.0.0.1:{port}"
        try:
            while not answers(address):
                if page.poll() is not None:
                    raise SystemExit("the page has ended before it answered")
                time.sleep(0.5)
            yield address
        finally:
            page.terminate()
            page.wait()


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/healthz") as answer:
            return answer.status == 200
    except urllib.error.URLError:
        return False


def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with served() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport=VIEW, reduced_motion="reduce")
        page.set_default_timeout(PATIENCE_MS)
        page.goto(address)
        page.get_by_role("tab", name="MaMMUT").wait_for()
        page.evaluate(POINTER)
        film = Film(page)
        for scene in (ask_flamingo, search_with_mammut, write_with_palm):
            scene(film)
        browser.close()
    film.save(PICTURE)
    seconds, size_mb = sum(film.milliseconds) / 1000, PICTURE.stat().st_size / 1e6
    print(f"{PICTURE.relative_to(ROOT)}: {len(film.frames)} frames, {seconds:.0f} s, {size_mb:.2f} MB")


if __name__ == "__main__":
    main()
