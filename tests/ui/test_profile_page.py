"""A page of a profile: a bar while it loads, then its weights, or the bundled ones and a banner."""

import threading

import pytest
from playwright.sync_api import expect

from palm_demo.errors import ServingError
from palm_demo.gallery import MEMORY
from palm_demo.profiles import Step
from palm_demo.session import loading
from palm_demo.ui.flamingo.presets import TILES
from palm_demo.ui.loading_page import opening
from tests.ports import free_port
from tests.profiles.weights import publish
from tests.ui.hands import flamingo_said, model_tab, open_reads, visitor_said


@pytest.fixture
def started(serve, settings, tmp_path, monkeypatch):
    """Starts the page of a profile as app.py does; its address."""
    from palm_demo.serving import local

    monkeypatch.setattr(local, "page_place", lambda *_: MEMORY)
    monkeypatch.setattr(local, "writable_or_memory", lambda _: MEMORY)

    def begin(profile: str, port: int) -> str:
        place = {"server_name": "127.0.0.1", "server_port": port}
        (tmp_path / "examples").mkdir()
        served = {"prevent_thread_lock": True, "quiet": True}
        return local.start(settings, tmp_path / "examples", profile, None, **place, **served).address

    return begin


def test_a_bar_is_shown_until_the_page_takes_its_place_with_a_banner_where_that_failed(
    filled_hub, profile, started, session, browser, strays, monkeypatch, serious
):
    """The Hub stops in the middle: whoever waited sees how far it came, and then the bundled weights."""
    monkeypatch.setattr(loading, "_bundled", lambda limits: session.models)
    going, asked = threading.Event(), threading.Event()

    def stops(files, on_progress, converted):
        on_progress(Step("Downloading them/palm, of 2.0 GB in all", 0.37))
        asked.set()
        going.wait()
        filled_hub.models["them/palm"] = {}
        return real(files, on_progress, converted)

    real = loading.download
    monkeypatch.setattr(loading, "download", stops)
    port, result = free_port(), []
    thread = threading.Thread(target=lambda: result.append(started(str(profile), port)))
    thread.start()
    asked.wait()
    context = browser.new_context(viewport={"width": 390, "height": 800})
    page = context.new_page()
    page.on("pageerror", lambda error: strays.append(str(error)))
    page.goto(f"http://127.0.0.1:{port}/?tab=palm-write")
    expect(page.get_by_role("status")).to_have_text("Downloading them/palm, of 2.0 GB in all: 37 %")
    expect(page.get_by_role("progressbar")).to_have_js_property("value", 37)
    assert serious(page) == []
    assert page.request.get(f"http://127.0.0.1:{port}/healthz").text() == "ok"
    assert page.request.get(f"http://127.0.0.1:{port}/gradio_api/info").status == 503
    going.set()
    thread.join()
    banner = page.locator("#fell-back")
    expect(banner).to_contain_text("These are the small bundled weights.")
    expect(banner).to_contain_text("them/palm has no file palm.pt at main; name another.")
    expect(model_tab(page, "PaLM")).to_have_attribute("aria-selected", "true")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert result == [f"http://127.0.0.1:{port}/"]
    context.close()


def test_a_page_of_released_weights_says_what_they_are_and_what_they_lack(
    filled_hub, profile, serve, settings, visit
):
    publish(filled_hub)
    session = loading.load(str(profile), settings.limits.media_limits, settings.limits.batch_limits)
    page = visit("PaLM", serve(session, settings))
    expect(page.locator("#header")).to_contain_text("PaLM small, OpenFlamingo small, openMaMMUT small")
    expect(page.locator("#fell-back")).to_have_count(0)
    expect(page.get_by_text("This model came without voices").first).to_be_visible()
    page.locator("#palm-prompt textarea").fill("the cat and the")
    page.locator("#palm-run").click()
    expect(page.locator("#palm-text textarea")).not_to_have_value("")
    model_tab(page, "Flamingo").click()
    expect(page.get_by_text("of a video it is shown 3, one after the other")).to_be_visible()
    expect(visitor_said(page).or_(flamingo_said(page))).to_have_count(0)  # nobody asked a large model yet
    open_reads(page)
    page.locator("#flamingo-samples button").nth(list(TILES).index("caption")).click()
    expect(page.locator("#flamingo-reads")).to_contain_text("Output:")
    expect(page.locator("#flamingo-strange")).to_be_hidden()
    model_tab(page, "MaMMUT").click()
    page.locator("#mammut-gallery button").first.click()
    expect(page.locator("#mammut-others-said")).to_contain_text("%")
    session.close()


def test_a_port_is_held_for_the_page_that_comes(monkeypatch):
    port = free_port()
    monkeypatch.setenv("PORT", str(port))
    with opening("A <title>") as loading:
        assert loading.port == port
        with pytest.raises(ServingError, match=f"port {port} on 127.0.0.1 is taken"), opening("another"):
            pass
    with opening("again") as loading:
        assert loading.port == port
