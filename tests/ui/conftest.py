"""One server and one browser for all tests of the page; nothing may leave this machine."""

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import av
import httpx
import huggingface_hub
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from gradio_client import Client
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

import palm_demo
from palm_demo.session import Session
from palm_demo.settings import Settings, load_settings
from tests.ports import free_port
from tests.ui.hands import model_tab

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",  # a camera that shows a moving test picture
    "--use-fake-ui-for-media-stream",
]
GRADIOS = (
    # what stands in a part without a value is named and has no role
    ("aria-prohibited-attr", ".empty"),
)
"""Rules and selectors of axe-core that only Gradio can mend."""

PATIENCE_MS = 30_000
"""For a condition that holds within a second on an idle machine."""


@pytest.fixture(scope="session")
def settings() -> Settings:
    """The Spacefile's, but for the limit that so many tests from one address would meet."""
    settings = load_settings()
    return replace(settings, limits=replace(settings.limits, uploads_per_minute=10_000))


@pytest.fixture(scope="session")
def session(settings) -> Session:
    return palm_demo.load("tiny", settings.limits.media_limits, settings.limits.batch_limits)


@pytest.fixture(scope="session")
def local_sockets() -> Iterator[None]:
    """Refuses connections to other machines, of the server too."""
    connect = socket.socket.connect

    def connect_here(self, address):
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "localhost", "::1"):
            raise AssertionError(f"a connection to {address} was tried")
        return connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect_here)
        # as the Spacefile says: otherwise the Hub's client asks the Hub which agents there are
        patch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_TELEMETRY", True)
        yield


@pytest.fixture(scope="session")
def serve(settings, local_sockets, tmp_path_factory) -> Iterator[Callable[[Session, Settings], str]]:
    """Serves a page, by the code that app.py runs, and gives its address."""
    uploads, pages = tmp_path_factory.mktemp("uploads"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(uploads))
        patch.delenv("PORT", raising=False)
        for name, value in settings.env.variables.items():
            patch.setenv(name, value)
        from palm_demo.ui import page

        def serve(session: Session, settings: Settings) -> str:
            blocks = page.build(session, settings, tmp_path_factory.mktemp("examples"))
            pages.append(blocks)
            _, url, _ = page.launch(
                blocks,
                settings,
                server_name="127.0.0.1",
                server_port=free_port(),
                prevent_thread_lock=True,
                quiet=True,
            )
            return url

        yield serve
        for blocks in pages:
            blocks.close(verbose=False)


@pytest.fixture(scope="session")
def address(session, settings, serve) -> str:
    """Where the page of all tests is served."""
    return serve(session, settings)


@pytest.fixture(scope="session")
def client(address, tmp_path_factory) -> Client:
    return Client(address, verbose=False, download_files=str(tmp_path_factory.mktemp("downloads")))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The machine's own browser, or the one that playwright has installed."""
    expect.set_options(timeout=PATIENCE_MS)
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=BROWSER_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def strays() -> list[str]:
    """Requests that left the machine, what the page's own policy forbids it and errors of its scripts, as
    they are seen."""
    return []


@pytest.fixture(autouse=True)
def nothing_strays(strays) -> Iterator[None]:
    yield
    seen = list(strays)
    strays.clear()
    assert not seen, f"the page went astray: {seen}"


@pytest.fixture
def visit(browser, address, strays) -> Iterator[Callable[..., Page]]:
    """Opens the page at a tab, as a new visitor would; or another page that is served."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(PATIENCE_MS)

    def note_request(request) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            strays.append(request.url)

    def note_refusal(message) -> None:
        if "Content Security Policy" in message.text:
            strays.append(message.text)

    def open_at(tab: str, at: str = address) -> Page:
        page = context.new_page()
        page.on("console", note_refusal)
        page.on("request", note_request)
        page.on("pageerror", lambda error: strays.append(str(error)))
        page.goto(at)
        model_tab(page, tab).click()
        return page

    yield open_at
    context.close()


SETTLED = """() => Promise.allSettled(document.getAnimations()
    .filter(one => one.effect.getComputedTiming().endTime !== Infinity).map(one => one.finished))"""
"""Colours fade from one to the next; what is judged is where they end."""


@pytest.fixture(scope="session")
def serious() -> Callable[[Page], list[str]]:
    """Asks axe-core what bars people's way on a page as it is seen now: its faults, serious and critical."""
    axe = Axe()

    def found(page: Page) -> list[str]:
        page.evaluate(SETTLED)
        return [
            f"{fault['id']}: {node['html'][:200]} {[check['message'] for check in node['any']]}"
            for fault in axe.run(page).response["violations"]
            if fault["impact"] in ("serious", "critical")
            for node in fault["nodes"]
            if not _is_gradios(page, fault["id"], node["target"][-1])
        ]

    return found


def _is_gradios(page: Page, rule: str, target: str) -> bool:
    return any(
        rule == excused
        and page.locator(target).first.evaluate("(node, chosen) => node.matches(chosen)", selector)
        for excused, selector in GRADIOS
    )


@pytest.fixture(scope="session")
def media(tmp_path_factory) -> Path:
    """A folder of good and bad files."""
    folder = tmp_path_factory.mktemp("media")
    Image.new("RGB", (64, 64), "red").save(folder / "red.png")
    Image.new("RGB", (64, 64), "blue").save(folder / "blue.png")
    (folder / "text.png").write_text("words, not pixels")
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "whole.jpg")
    (folder / "cut.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:4000])
    Image.new("L", (10_000, 9_000)).save(folder / "huge.png")
    frames = [Image.new("RGB", (32, 32), color) for color in ("red", "green", "blue")]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:], duration=100)
    _write_sound(folder / "sound.mp4")
    _write_black(folder / "short.mp4", seconds=3)
    _write_black(folder / "long.mp4", seconds=600)
    (folder / "many").mkdir()
    for number in range(20):
        Image.new("RGB", (16, 16), (12 * number, 0, 0)).save(folder / "many" / f"{number}.png")
    return folder


def _write_black(path: Path, seconds: int) -> None:
    """A video of one frame per second."""
    with av.open(os.fspath(path), "w") as container:
        stream = container.add_stream("libx264", rate=1)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(seconds):
            container.mux(stream.encode(av.VideoFrame.from_image(Image.new("RGB", (32, 32)))))
        container.mux(stream.encode(None))


def _write_sound(path: Path) -> None:
    """An mp4 without pictures."""
    with av.open(os.fspath(path), "w") as container:
        stream = container.add_stream("aac", rate=44_100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44_100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture
def visitor(address) -> Iterator[httpx.Client]:
    """A client that has a visitor's cookie."""
    with httpx.Client(base_url=address, timeout=60) as client:
        client.get("config")
        yield client


@pytest.fixture
def other(address) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=60) as client:
        client.get("config")
        yield client


@pytest.fixture(scope="module")
def config(address) -> dict:
    return httpx.get(f"{address}config").json()


@pytest.fixture
def unnamed(monkeypatch) -> None:
    """No variable names a proxy, a host or a Space."""
    for name in ("PALM_DEMO_PROXIES", "PALM_DEMO_HOSTS", "SPACE_ID", "SPACE_HOST"):
        monkeypatch.delenv(name, raising=False)
