"""The page comes small, and what is shared of it tells of itself."""

import io
import json
import re
import urllib.request

import brotli
import pytest
from PIL import Image

MOST_BYTES = 60_000
"""Of the page's own HTML with its configuration, as it goes over the wire."""


def get(address: str, path: str, packed: str = "br") -> tuple[bytes, dict[str, str]]:
    asked = urllib.request.Request(address.rstrip("/") + path, headers={"Accept-Encoding": packed})
    with urllib.request.urlopen(asked) as answer:
        return answer.read(), {name.lower(): value for name, value in answer.headers.items()}


@pytest.mark.parametrize("path", ["/", "/config"])
def test_the_page_and_its_configuration_come_compressed_to_who_can_read_that(address, path):
    plain, of_plain = get(address, path, packed="identity")
    small, of_small = get(address, path)
    assert "content-encoding" not in of_plain and of_small["content-encoding"] == "br"
    assert "accept-encoding" in of_plain["vary"].lower() and "accept-encoding" in of_small["vary"].lower()
    assert int(of_small["content-length"]) == len(small) < min(MOST_BYTES, len(plain) / 5)
    assert len(brotli.decompress(small)) == len(plain)


def test_event_streams_are_never_compressed(address):
    headers = {"Accept-Encoding": "br, gzip", "Content-Type": "application/json"}
    path = f"{address.rstrip('/')}/gradio_api/call/scopes"
    with urllib.request.urlopen(urllib.request.Request(path, b'{"data": []}', headers)) as answer:
        event = json.loads(answer.read())["event_id"]
    with urllib.request.urlopen(urllib.request.Request(f"{path}/{event}", headers=headers)) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["content-encoding"] is None and b"event: complete" in answer.read()


def test_a_shared_link_shows_the_pages_own_card(address, settings):
    page, _ = get(address, "/", packed="identity")
    head = page.decode().partition("</head>")[0]
    assert f'<meta property="og:title" content="{settings.space.title}">' in head
    assert f'<meta name="description" content="{settings.space.short_description}.">' in head
    (picture,) = re.findall(r'property="og:image" content="([^"]+)"', head)
    assert picture == f"{address.rstrip('/')}/card.png"
    data, headers = get(address, "/card.png")
    assert headers["content-type"] == "image/png" and Image.open(io.BytesIO(data)).size == (1200, 630)


def test_words_are_there_before_scripts_are(browser, address, settings):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert settings.space.title in page.inner_text("body")
    assert page.title() == settings.space.title
    context.close()


def test_no_font_has_to_come(visit):
    page = visit("Flamingo")
    fonts = page.evaluate(
        "performance.getEntriesByType('resource').map(one => one.name).filter(name => /woff/.test(name))"
    )
    assert fonts == []
