"""Each tab, used as a person would."""

import re
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from palm_demo.inference.settings import BatchLimits
from palm_demo.media import open_image
from palm_demo.ui.palm.voices import shown_name
from tests.media_files import encoded
from tests.ui.hands import (
    ask,
    flamingo_said,
    model_tab,
    open_reads,
    open_settings,
    press,
    start_over,
    visitor_said,
)

PALM_PROMPT = "The night was"


def picture_of(page: Page, path: Path) -> Path:
    """A screenshot that shows something: more than a few colours, none of them everywhere."""
    page.screenshot(path=path, full_page=True)
    with Image.open(path) as image:
        small = image.convert("RGB").resize((320, 320), Image.Resampling.NEAREST)
    pixels = Counter(map(tuple, np.asarray(small).reshape(-1, 3).tolist()))
    assert len(pixels) > 50
    assert pixels.most_common(1)[0][1] < 0.97 * 320 * 320
    return path


@pytest.fixture
def held(session, monkeypatch):
    """Streams that say a few words and then wait until they are stopped."""

    def hold(name: str) -> threading.Event:
        real = getattr(session, name)

        def stream(*arguments, cancelled, **settings):
            for count, delta in enumerate(real(*arguments, cancelled=cancelled, **settings)):
                yield delta
                if count == 0:
                    assert cancelled.wait(60), "nobody stopped the stream"
            ended.set()

        ended = threading.Event()
        monkeypatch.setattr(session, name, stream)
        return ended

    return hold


def test_header_says_what_is_loaded(visit, session):
    page = visit("Flamingo")
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    for part in session.about.values():
        for told in ("knows", "licence"):
            expect(page.locator("#about")).to_contain_text(part[told])


def test_every_button_has_a_name(visit):
    page = visit("Flamingo")
    all_named = """() => [...document.querySelectorAll("button")].filter(button => button.checkVisibility())
        .every(button => button.innerText.trim() || button.ariaLabel || button.title
            || button.querySelector('img[alt]:not([alt=""])'))"""
    for tab, button in (("Flamingo", "Ask"), ("MaMMUT", "Describe"), ("PaLM", "Continue")):
        model_tab(page, tab).click()
        expect(page.get_by_role("button", name=button, exact=True)).to_be_visible()
        page.wait_for_function(all_named)  # a tab loads what its examples are drawn with when it opens


def test_flamingo_example_answers_in_one_click(visit, session, tmp_path):
    page = visit("Flamingo")
    start_over(page)
    open_reads(page)
    page.locator("#flamingo-samples button").first.click()
    answer = flamingo_said(page)
    expect(answer).to_have_count(1)
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_enabled()
    expect(page.locator("#flamingo-reads")).to_contain_text("<media>")
    expect(page.locator("#flamingo-reads")).to_contain_text("picture 1", ignore_case=True)
    expect(page.locator("#flamingo-chat img")).to_have_count(1)
    picture_of(page, tmp_path / "flamingo.png")


def test_flamingo_puts_marks_in_front_and_shows_them(visit, media, session):
    page = visit("Flamingo")
    open_reads(page)
    ask(page, "What color is the background?", [media / "red.png", media / "short.mp4"])
    reads = page.locator("#flamingo-reads")
    expect(reads).to_contain_text(
        re.compile(r"<media>\s*picture 1\s*<media>\s*video 2\s*question: what color", re.IGNORECASE)
    )
    prompt = "<media> <media> question: what color is the background? answer:"
    answer = session.answer(prompt, [media / "red.png", media / "short.mp4"])
    expect(flamingo_said(page)).to_have_text(answer)
    expect(page.locator("#flamingo-media").get_by_label("Remove file")).to_have_count(0)
    expect(page.get_by_label("Your question")).to_have_value("")


def test_flamingo_interleaves_words_and_media(visit, media):
    page = visit("Flamingo")
    words = "<media> this is a <b>dax</b>. <media> this is a"
    ask(page, words, [media / "red.png", media / "blue.png"])
    said = visitor_said(page)
    expect(said).to_contain_text(
        re.compile(r"picture 1.*this is a <b>dax</b>\..*picture 2.*this is a", re.DOTALL)
    )
    expect(page.locator("#flamingo-chat b")).to_have_count(0)


def test_flamingo_reads_earlier_turns_when_asked_to(visit, media):
    page = visit("Flamingo")
    start_over(page)
    open_reads(page)
    ask(page, "what color is the background?", [media / "red.png"])
    expect(flamingo_said(page)).to_have_count(1)
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_enabled()
    page.get_by_label("Let Flamingo read the earlier questions too").check()
    ask(page, "what color is the background?")  # about the picture that was asked about last
    expect(flamingo_said(page)).to_have_count(2)
    expect(page.locator("#flamingo-reads")).to_contain_text("picture 2", ignore_case=True)
    press(page, "Start over")
    expect(flamingo_said(page)).to_have_count(0)


def test_flamingo_stops_without_an_error_over_the_chat(visit, held):
    held("stream_answer")
    page = visit("Flamingo")
    start_over(page)
    page.locator("#flamingo-samples button").first.click()
    expect(flamingo_said(page)).to_have_count(1)
    press(page, "Stop")
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_enabled()
    expect(page.get_by_role("button", name="Stop", exact=True).first).to_be_disabled()
    expect(page.get_by_text("Error", exact=True)).to_have_count(0)


def test_flamingo_says_when_it_has_no_words(visit, session, monkeypatch):
    monkeypatch.setattr(session, "stream_answer", lambda *arguments, **settings: iter(()))
    page = visit("Flamingo")
    start_over(page)
    page.locator("#flamingo-samples button").first.click()
    expect(flamingo_said(page)).to_contain_text("No words came")


def test_flamingo_starts_over_in_the_middle_of_an_answer(visit, held):
    ended = held("stream_answer")
    page = visit("Flamingo")
    start_over(page)
    page.locator("#flamingo-samples button").first.click()
    answers = flamingo_said(page)
    expect(answers).to_have_count(1)
    press(page, "Start over")
    assert ended.wait(60)
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_enabled()
    expect(answers).to_have_count(0)


def test_mammut_describes_names_and_finds(visit, session, tmp_path):
    page = visit("MaMMUT")
    gallery = page.locator("#mammut-gallery")
    gallery.locator("button").first.click()
    expect(page.get_by_label("MaMMUT sees")).not_to_have_value("")
    expect(page.locator("#mammut-picture img")).to_be_visible()
    page.locator("#mammut-choose > button").click()
    press(page, "Choose a label")
    expect(page.locator("#mammut-bars")).to_contain_text("%")
    press(page, "Find similar")
    expect(gallery.locator("button")).to_have_count(12)
    expect(gallery.locator("button").first).to_contain_text("1.00")
    picture_of(page, tmp_path / "mammut.png")


def test_mammut_finds_by_words(visit, session):
    page = visit("MaMMUT")
    page.get_by_label("Search with words").fill("a cat on a blue background")
    press(page, "Search")
    best = session.search("a cat on a blue background", 1)[0]
    expect(page.locator("#mammut-gallery button").first).to_contain_text(best.caption)


def test_mammut_describes_an_uploaded_picture(visit, session, media):
    page = visit("MaMMUT")
    page.locator("#mammut-picture input[type=file]").set_input_files(media / "blue.png")
    expect(page.locator("#mammut-picture img")).to_be_visible()
    press(page, "Describe")
    expect(page.get_by_label("MaMMUT sees")).to_have_value(session.caption(media / "blue.png"))


@pytest.mark.parametrize("kind", ["HEIF", "TIFF"])
def test_mammut_shows_what_browsers_cannot_as_it_was_read(kind, visit, session, tmp_path):
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(encoded(session.gallery.sample(1, 7)[0].image, kind))
    page = visit("MaMMUT")
    page.locator("#mammut-picture input[type=file]").set_input_files(path)
    shown = page.locator("#mammut-picture img")
    expect(shown).to_have_attribute("src", re.compile(r"\.png$"))
    expect(shown).to_have_js_property("naturalWidth", open_image(path).width)
    press(page, "Describe")
    expect(page.get_by_label("MaMMUT sees")).to_have_value(session.caption(path))


def test_mammut_says_when_a_picture_is_no_drawing(visit, media):
    page = visit("MaMMUT")
    warning = page.locator("#mammut-strange")
    page.locator("#mammut-picture input[type=file]").set_input_files(media / "whole.jpg")
    expect(warning).to_contain_text("does not look like anything")
    expect(page.locator("#mammut-others-said")).to_contain_text("%")  # the last that a dropped picture brings
    page.locator("#mammut-gallery button").first.click()
    expect(warning).to_be_hidden()


def test_flamingo_says_when_pictures_are_no_drawings(visit, media):
    page = visit("Flamingo")
    warning = page.locator("#flamingo-strange")
    ask(page, "What color is the background?", [media / "red.png", media / "whole.jpg"])
    expect(warning).to_contain_text("2 of these 2 do not look like anything")
    page.locator("#flamingo-samples button").first.click()
    expect(warning).to_be_hidden()


def test_palm_continues_in_a_scope(visit, session, tmp_path):
    page = visit("PaLM")
    scope = session.scopes[0]
    page.get_by_label("Begin a text").fill(PALM_PROMPT)
    page.get_by_label("Voice", exact=True).click()
    page.get_by_role("option", name=shown_name(scope), exact=True).click()
    open_settings(page)
    page.locator("#palm-seed input").fill("3")
    press(page, "Continue")
    written = PALM_PROMPT + session.generate(PALM_PROMPT, scope, max_new_tokens=96, seed=3)
    expect(page.get_by_label("PaLM writes")).to_have_value(written)
    picture_of(page, tmp_path / "palm.png")


def test_palm_example_writes_in_one_click(visit):
    page = visit("PaLM")
    page.locator("#palm-samples button").first.click()
    expect(page.get_by_label("PaLM writes")).to_have_value(
        re.compile(r"^It was a dark and stormy night, and\s*\S")
    )


def test_an_example_that_is_pressed_during_another_is_written_next(visit, held):
    held("stream")
    page = visit("PaLM")
    page.locator("#palm-samples button").first.click()
    expect(page.get_by_label("PaLM writes")).to_have_value(
        re.compile(r"^It was a dark and stormy night, and\s*\S")
    )
    page.locator("#palm-samples button").last.click()
    expect(page.get_by_label("PaLM writes")).to_have_value(
        re.compile("^Once upon a time there was a little girl who.")
    )


def test_palm_stops(visit, held):
    held("stream")
    page = visit("PaLM")
    page.get_by_label("Begin a text").fill(PALM_PROMPT)
    press(page, "Continue")
    expect(page.get_by_label("PaLM writes")).to_have_value(re.compile(f"^{PALM_PROMPT}."))
    press(page, "Stop")
    expect(page.get_by_role("button", name="Continue", exact=True)).to_be_enabled()


def test_stream_ends_when_its_visitor_leaves(visit, held):
    ended = held("stream")
    page = visit("PaLM")
    page.get_by_label("Begin a text").fill(PALM_PROMPT)
    press(page, "Continue")
    expect(page.get_by_label("PaLM writes")).to_have_value(re.compile(f"^{PALM_PROMPT}."))
    page.close()
    assert ended.wait(60), "the stream went on"


@pytest.fixture
def one_row(session, monkeypatch):
    """PaLM with one row and one place in line, whose steps wait for the event."""
    batch, go_on = session.palm.engine.batch, threading.Event()
    real = batch.decode_step

    def decode_step(ids, cache):
        assert go_on.wait(60), "nobody let the batch go on"
        return real(ids, cache)

    monkeypatch.setattr(batch, "limits", BatchLimits(rows=1, waiting=1))
    monkeypatch.setattr(batch, "decode_step", decode_step)
    yield go_on
    go_on.set()
    with batch._changed:
        assert batch._changed.wait_for(lambda: batch._thread is None, 60), "a text did not end"


def begin_a_text(page) -> None:
    page.get_by_label("Begin a text").fill(PALM_PROMPT)
    press(page, "Continue")


def test_who_waits_reads_the_place_in_line_and_comes_next(visit, one_row):
    first, second, third = (visit("PaLM") for _ in range(3))
    begun = re.compile(f"^{PALM_PROMPT}.")
    begin_a_text(first)
    expect(first.get_by_label("PaLM writes")).to_have_value(begun)
    begin_a_text(second)
    expect(second.locator("#palm-line")).to_contain_text("Place 1 in line")
    begin_a_text(third)
    expect(third.get_by_text("try again in a moment")).to_be_visible()
    expect(second.get_by_label("PaLM writes")).not_to_have_value(begun)
    first.close()
    one_row.set()
    expect(second.get_by_label("PaLM writes")).to_have_value(begun)
    expect(second.locator("#palm-line")).to_be_hidden()


def test_dark_theme_shows_the_page_too(visit, address, tmp_path):
    page = visit("Flamingo")
    page.goto(f"{address}?__theme=dark")
    expect(page.locator("#flamingo-samples img").first).to_be_visible()
    with Image.open(picture_of(page, tmp_path / "dark.png")) as image:
        assert max(image.convert("RGB").getpixel((5, 5))) < 60


def test_the_page_asks_for_nothing_that_its_door_refuses(visit):
    page, refused = visit("Flamingo"), []
    page.on("response", lambda answer: refused.append(answer.url) if answer.status >= 400 else None)
    page.reload()
    page.locator("#flamingo-samples button").first.click()
    expect(flamingo_said(page)).to_have_count(1)
    expect(page.locator("#flamingo-chat img").first).to_have_js_property("complete", True)
    model_tab(page, "MaMMUT").click()
    page.locator("#mammut-gallery button").first.click()
    expect(page.get_by_label("MaMMUT sees")).not_to_have_value("")
    assert refused == []
