"""A page on ZeroGPU: its endpoints on their visitors' quota, and texts in a browser.

`test_zerogpu.py` runs this file in a process of its own, with the fixtures of `pretended_zerogpu.py`.
"""

import base64
import json
import multiprocessing
import re
import shutil
from collections.abc import Iterator

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from playwright.sync_api import Page, expect, sync_playwright

from palm_demo.gallery import MEMORY
from palm_demo.settings import load_settings
from tests.serving.pretended_zerogpu import HELD, PROMPT
from tests.ui.conftest import BROWSER_FLAGS, BROWSERS, PATIENCE_MS


@pytest.fixture(scope="module")
def address(zero, gpus, tmp_path_factory) -> str:
    """Where a page of it is served."""
    from palm_demo.serving.local import start

    place = {"prevent_thread_lock": True, "quiet": True, "server_name": "127.0.0.1"}
    folder = tmp_path_factory.mktemp("examples")
    address = start(load_settings(), folder, "tiny", MEMORY, lambda session: zero, **place).address
    return address


@pytest.fixture(scope="module")
def token() -> str:
    """By which ZeroGPU knows a visitor: the Hub's proxy puts it on every request."""
    claims = base64.urlsafe_b64encode(json.dumps({"user": "visitor"}).encode()).decode()
    return f"a.{claims.rstrip('=')}.c"


def test_endpoints_are_answered_on_their_visitors_quota(address, token, gpus, session, pictures):
    assert gpus.reports == 1
    visitor = Client(address, verbose=False, headers={"X-IP-Token": token})
    red, caption = handle_file(pictures[0]), session.caption(pictures[0])
    before = len(gpus.asked)
    assert visitor.predict(red, api_name="/caption") == caption
    assert len(visitor.predict("a cat", 3, api_name="/search")) == 3
    asked = {"max_new_tokens": 8, "temperature": 0.0, "top_p": 1.0, "repetition_penalty": 1.0}
    assert visitor.predict(PROMPT, api_name="/generate", **asked) == session.generate(PROMPT, **asked)
    assert [said.get("token") for said in gpus.asked[before:]] == [token] * 3
    gpus.refused = True
    with pytest.raises(AppError, match="There is no GPU for this now"):
        visitor.predict(red, api_name="/caption")
    gpus.refused = False
    assert visitor.predict(red, api_name="/caption") == caption


@pytest.fixture
def page(address, token) -> Iterator[Page]:
    """The PaLM tab in a browser."""
    executable = next(filter(None, map(shutil.which, BROWSERS)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=BROWSER_FLAGS)
        page = browser.new_page(extra_http_headers={"X-IP-Token": token})
        page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        page.goto(address)
        page.get_by_role("tab", name="PaLM").click()
        yield page
        browser.close()
        for worker in multiprocessing.active_children():  # it has the browser's pipes, too, and so keeps it
            worker.kill()
            worker.join()


def test_texts_side_by_side_wait_for_a_gpu_and_a_held_one_is_stopped(page, token, gpus, monkeypatch):
    """Two texts on one GPU, and then one that can only end by being stopped."""
    monkeypatch.setattr(gpus, "count", 1)
    before = len(gpus.asked)
    page.get_by_role("tab", name="Side by side", exact=True).click()
    for _ in range(2):  # of three scopes
        page.locator("#palm-columns-picked input").press("Backspace")
    page.get_by_role("button", name="Write side by side").click()
    for place in range(2):
        expect(page.locator(f"#palm-columns-{place} textarea")).to_have_value(re.compile(r"\w"))
    expect(page.get_by_role("button", name="Write side by side")).to_be_enabled(timeout=60_000)
    assert [said.get("token") for said in gpus.asked[before:]] == [token] * 2
    page.get_by_role("tab", name="Write", exact=True).click()
    page.locator("#palm-prompt textarea").fill(HELD)
    page.get_by_role("button", name="Continue", exact=True).click()
    expect(page.locator("#palm-text textarea")).to_have_value(re.compile(f"{HELD}.+"))
    assert gpus.lent == 1
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_role("button", name="Continue", exact=True)).to_be_enabled(timeout=60_000)
    assert gpus.lent == 0


def test_the_app_takes_zerogpu_where_it_is(gpus, monkeypatch):
    from palm_demo.serving import local
    from palm_demo.serving.zerogpu import ZeroSession

    given = []

    def started(*arguments, **around):
        given.append(around)
        raise KeyboardInterrupt  # whoever began it ends it before it is up

    monkeypatch.setattr(local, "start", started)
    local.serve(profile="tiny")
    monkeypatch.delenv("SPACES_ZERO_GPU")
    local.serve(profile="tiny")
    assert given == [{"answering": ZeroSession}, {}]
