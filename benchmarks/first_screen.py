"""How soon a phone sees the page, and answers a press: `python -m benchmarks.first_screen`, Markdown out."""

import argparse
import shutil
import statistics
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import astuple, dataclass

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from benchmarks.load.served import page as served_page
from benchmarks.measuring import table

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
"""The machine's own, or else the one that playwright has installed."""

DOWN_BITS, UP_BITS, LATENCY_MS = 1_600_000, 750_000, 150
SLOWER = 4
"""Chromium's own "Slow 4G", and how many times slower than this processor a phone's is."""

PHONE = {"width": 390, "height": 844}
PATIENCE_MS = 120_000
IDLE_MS = 2_000
"""After this long without a new request, all has come that comes by itself."""

SEEN = """() => {
    const note = name => { if (!(name in window.seen)) window.seen[name] = performance.now(); };
    window.seen = {};
    const look = () => {
        const there = one => one && one.checkVisibility() && one.getBoundingClientRect().height > 0;
        if (there([...document.querySelectorAll('[role=tab]')].find(there))) note('tab');
        if (there(document.querySelector('#flamingo-samples button'))) note('press');
        if (!('tab' in window.seen && 'press' in window.seen)) requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
}"""
"""Notes when the first tab is seen, and the first example that can be pressed."""

ANSWERED = """() => {
    const said = () => [...document.querySelectorAll('#flamingo-chat [data-testid=bot]')].at(-1)?.innerText;
    const count = () => document.querySelectorAll('#flamingo-chat [data-testid=bot]').length;
    const before = [said(), count()], began = performance.now();
    document.querySelectorAll('#flamingo-samples button')[3].click();
    return new Promise(done => {
        const look = () => {
            const now = said();
            if (now && now.trim() && (now !== before[0] || count() !== before[1])) {
                done(performance.now() - began);
            } else requestAnimationFrame(look);
        };
        look();
    });
}"""
"""Milliseconds from a press on an example to the first word of its answer."""


@dataclass(frozen=True)
class Visit:
    """What a visitor with an empty cache met: seconds, kilobytes over the wire, and counts."""

    first_paint: float
    first_tab: float
    first_example: float
    first_word: float
    kilobytes: float
    requests: int
    blocks: int


class Wire:
    """What has come over the network."""

    def __init__(self, cdp: CDPSession):
        self.bytes, self.requests = 0, 0
        cdp.on("Network.requestWillBeSent", self._asked)
        cdp.on("Network.loadingFinished", self._came)

    def _asked(self, event: dict) -> None:
        self.requests += not event["request"]["url"].startswith(("data:", "blob:"))

    def _came(self, event: dict) -> None:
        self.bytes += int(event["encodedDataLength"])


def visit(browser: Browser, address: str) -> Visit:
    """Opens the page as a phone does that has never seen it, and presses an example."""
    context = browser.new_context(viewport=PHONE, device_scale_factor=2, is_mobile=True, has_touch=True)
    try:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        wire = _slow(context.new_cdp_session(page))
        page.add_init_script(f"({SEEN})()")
        page.goto(address)
        page.wait_for_function("() => 'tab' in window.seen && 'press' in window.seen")
        _wait_until_idle(page, wire)
        came, asked = wire.bytes, wire.requests
        seen = page.evaluate("() => window.seen")
        paint = page.evaluate("() => performance.getEntriesByName('first-contentful-paint')[0].startTime")
        blocks = page.evaluate("() => window.gradio_config.components.length")
        word = page.evaluate(ANSWERED)
        times = (paint, seen["tab"], seen["press"], word)
        return Visit(*(milliseconds / 1000 for milliseconds in times), came / 1000, asked, blocks)
    finally:
        context.close()


def _slow(cdp: CDPSession) -> Wire:
    cdp.send("Network.enable")
    cdp.send(
        "Network.emulateNetworkConditions",
        {
            "offline": False,
            "latency": LATENCY_MS,
            "downloadThroughput": DOWN_BITS / 8,
            "uploadThroughput": UP_BITS / 8,
        },
    )
    cdp.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    return Wire(cdp)


def _wait_until_idle(page: Page, wire: Wire) -> None:
    before = -1
    while wire.requests != before:
        before = wire.requests
        page.wait_for_timeout(IDLE_MS)


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = next(filter(None, map(shutil.which, BROWSERS)), None)
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", help="of a page that is served already, instead of one of its own")
    parser.add_argument("--visits", type=int, default=3, help="whose medians are printed, 3 by default")
    asked = parser.parse_args()
    serving = nullcontext(None) if asked.address else served_page()
    with serving as page, chromium() as browser:
        address = asked.address or page.address
        visit(browser, address)  # the page's own first visit, for which it opens what it needs
        visits = [visit(browser, address) for _ in range(asked.visits)]
    medians = Visit(*map(statistics.median, zip(*map(astuple, visits), strict=True)))
    print(
        table(
            [
                "first paint s",
                "first tab s",
                "first example s",
                "press to first word s",
                "kB",
                "requests",
                "blocks",
            ],
            [
                [
                    f"{medians.first_paint:.1f}",
                    f"{medians.first_tab:.1f}",
                    f"{medians.first_example:.1f}",
                    f"{medians.first_word:.2f}",
                    f"{medians.kilobytes:,.0f}",
                    f"{medians.requests:.0f}",
                    f"{medians.blocks:.0f}",
                ]
            ],
        )
    )


if __name__ == "__main__":
    main()
