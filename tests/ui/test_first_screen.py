"""The first minute: what is on the screen when the page opens, and what a first press does."""

import re
from collections.abc import Iterator
from random import Random

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from palm_demo import world
from palm_demo.ui.flamingo.presets import TILES
from palm_demo.ui.photographs import example_photos
from tests.ui.conftest import PATIENCE_MS
from tests.ui.hands import ask, flamingo_said, model_tab, show, shown, start_over, visitor_said

DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
MODELS = ("Flamingo", "MaMMUT", "PaLM")
FLAMINGO_PARTS = ("Ask", "Teach by example", "Make a scene")
PALM_PARTS = ("Write", "Side by side", "Token view", "Who wrote this?", "Teach a voice")


@pytest.fixture(params=[DESK, PHONE], ids=["desk", "phone"])
def screen(request, visit) -> Page:
    page = visit("Flamingo")
    page.set_viewport_size(request.param)
    expect(page.locator("#flamingo-chat img")).to_have_js_property("complete", True)
    return page


def in_view(page: Page, *shown: Locator) -> None:
    """Each stands whole on the screen, without scrolling."""
    size = page.viewport_size
    for one in shown:
        expect(one).to_be_visible()
        box = one.bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= size["height"], (one, box)


def answer(page: Page) -> Locator:
    return flamingo_said(page)


def test_the_first_screen_has_an_answered_example_and_the_next_thing_to_press(screen):
    assert screen.evaluate("scrollY") == 0
    in_view(
        screen,
        screen.get_by_role("heading", level=1),
        *(model_tab(screen, name) for name in MODELS),
        screen.locator("#flamingo-samples button").first,
        screen.locator("#flamingo-chat img"),
        answer(screen),
        screen.locator("#flamingo-truth"),
    )
    expect(screen.locator("#flamingo-truth")).to_contain_text(re.compile("Right|Not this time"))


def test_on_a_desk_the_question_and_what_was_looked_at_are_there_too(visit):
    page = visit("Flamingo")
    page.set_viewport_size(DESK)
    in_view(
        page,
        page.locator("#flamingo-samples button").last,
        page.get_by_role("button", name="Add a picture or video"),
        page.get_by_role("button", name="Draw one"),
        page.get_by_label("Your question"),
        page.locator("#flamingo-chips button").last,
        page.get_by_role("button", name="Ask", exact=True),
        page.locator("#flamingo-words label").first,
    )


def test_examples_are_named_by_what_they_ask(visit):
    page = visit("Flamingo")
    names = page.locator("#flamingo-samples button").all_inner_texts()
    assert len(names) == len(TILES) and all(len(name.split()) > 1 for name in names)
    assert page.locator("#flamingo-samples [role=group]").get_attribute("aria-label")


def test_what_this_is_stands_behind_one_button(screen, session):
    about = screen.locator("#about")
    expect(about).to_be_hidden()
    screen.get_by_role("button", name="About this page").click()
    expect(about).to_be_visible()
    for part in session.about.values():
        expect(about).to_contain_text(part["knows"])
    expect(about).to_contain_text("do not know facts")
    screen.keyboard.press("Escape")
    expect(about).to_be_hidden()


ASKED = "name => performance.getEntriesByType('resource').some(one => one.name.includes(`/assets/${name}-`))"
"""Whether the page has asked for a file of Gradio's."""


def test_what_closed_tabs_need_is_loaded_when_they_are_opened(visit):
    page = visit("Flamingo")
    assert page.evaluate(ASKED, "Blocks") and not page.evaluate(ASKED, "Gallery")
    model_tab(page, "MaMMUT").click()
    expect(shown(page).first).to_be_visible()
    assert page.evaluate(ASKED, "Gallery")


def test_all_tabs_can_be_reached_on_a_phone(visit):
    page = visit("PaLM")
    page.set_viewport_size(PHONE)
    parts = [page.get_by_role("tab", name=name, exact=True) for name in PALM_PARTS]
    for tab in (*(model_tab(page, name) for name in MODELS), *parts):
        expect(tab).to_be_in_viewport(ratio=1)
    expect(page.get_by_role("button", name="More tabs")).to_have_count(0)


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_palms_first_press_writes_on_the_screen(visit, size):
    page = visit("PaLM")
    page.set_viewport_size(size)
    chip = page.locator("#palm-samples button").first
    in_view(page, chip, page.get_by_label("PaLM writes"))
    chip.click()
    expect(page.get_by_label("PaLM writes")).to_have_value(
        re.compile(r"^It was a dark and stormy night, and\s*\S")
    )
    in_view(page, page.get_by_label("PaLM writes"))


HEARD = """run => {
    run.click();
    return document.getElementById("flamingo-chat").matches(".heard");
}"""


def test_a_press_is_heard_at_once_and_its_answer_comes_onto_the_screen(visit):
    page = visit("Flamingo")
    page.set_viewport_size(PHONE)
    page.get_by_label("Your question").fill("What color is the background?")
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    expect(answer(page)).not_to_be_in_viewport()
    assert page.locator("#flamingo-run").evaluate(HEARD)
    expect(visitor_said(page)).to_contain_text("What color is the background?")
    expect(answer(page)).to_be_in_viewport()
    expect(page.locator("#flamingo-chat.heard")).to_have_count(0)


def test_a_press_on_an_example_tells_whether_the_answer_is_right(visit):
    page = visit("Flamingo")
    start_over(page)
    page.locator("#flamingo-samples button").nth(list(TILES).index("way")).click()
    expect(page.locator("#flamingo-truth")).to_contain_text("✓ Right: the page knows the answers")
    expect(page.locator("#flamingo-strange")).to_be_hidden()


def test_other_examples_are_drawn_when_asked_for(visit):
    page = visit("Flamingo")
    tiles = page.locator("#flamingo-samples")
    before = tiles.inner_text()
    page.get_by_role("button", name="Draw others").click()
    expect(tiles).not_to_have_text(before)
    expect(tiles.locator("button")).to_have_count(len(TILES))
    page.locator("#flamingo-samples button").first.click()
    expect(page.locator("#flamingo-truth")).to_contain_text("the page")


def test_enter_asks_and_shift_enter_begins_a_line(visit):
    page = visit("Flamingo")
    box = page.get_by_label("Your question")
    expect(page.get_by_text("Enter asks, Shift + Enter begins a new line.")).to_be_visible()
    box.fill("What color is")
    box.press("Shift+Enter")
    box.press_sequentially("the background?")
    expect(box).to_have_value("What color is\nthe background?")
    box.press("Enter")
    said = visitor_said(page)
    expect(said).to_contain_text(re.compile(r"What color is\s+the background\?"))
    expect(box).to_have_value("")


def test_a_question_alone_is_about_the_picture_before_or_says_that_one_is_missing(visit, media):
    page = visit("Flamingo")
    start_over(page)
    ask(page, "What color is the background?")
    expect(page.get_by_test_id("toast-body")).to_contain_text("There is no picture yet; add one, draw one")
    expect(answer(page)).to_have_count(0)
    ask(page, "What color is the background?", [media / "red.png"])
    expect(answer(page)).to_have_text("red")
    ask(page, "Is there a cat?")
    expect(visitor_said(page).locator("img")).to_have_count(2)
    expect(answer(page)).to_have_count(2)


def test_chips_ask_what_fits_the_picture(visit, session, tmp_path):
    path = tmp_path / "mine.png"
    world.render(world.scene_of_spec(Random(1), world.SceneSpec("cat", color="blue")), 192).save(path)
    assert session.caption(path) == "a cat on a blue background"
    page = visit("Flamingo")
    start_over(page)
    page.locator("#flamingo-media input[type=file]").set_input_files(path)
    chip = page.get_by_role("button", name="Is there a cat?")
    expect(chip).to_be_visible()
    page.get_by_role("group", name="Questions to press").get_by_role("button", name="Caption it").click()
    expect(answer(page)).to_have_text(session.answer("<media> caption:", [path]))
    chip.click()
    expect(answer(page).last).to_have_text("yes")


# own pictures


def kept(page: Page) -> Locator:
    return page.locator("#flamingo-media li")


def test_a_drawing_is_asked_about(visit):
    page = visit("Flamingo")
    start_over(page)
    page.get_by_role("button", name="Draw one").click()
    pad = page.get_by_role("group", name="Drawing pad")
    pad.get_by_role("button", name="blue").click()
    pad.get_by_role("button", name="Fill the background").click()
    pad.get_by_role("button", name="yellow").click()
    box = pad.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 250, box["y"] + 250, steps=8)
    page.mouse.up()
    pad.get_by_role("button", name="Use this drawing").click()
    expect(kept(page).locator("img")).to_have_js_property("naturalWidth", 384)
    ask(page, "What color is the background?")
    expect(answer(page)).to_have_text("blue")
    expect(visitor_said(page).locator("img")).to_have_count(1)
    expect(kept(page)).to_have_count(0)


def test_the_camera_takes_a_photo_and_records_a_video(visit):
    page = visit("Flamingo")
    start_over(page)
    page.get_by_role("button", name="Camera", exact=True).click()
    page.get_by_role("button", name="Take a photo").click()
    expect(kept(page).locator("img")).to_have_count(1)
    page.get_by_role("button", name="Camera", exact=True).click()
    page.get_by_role("button", name="Record a video").click()
    page.get_by_role("button", name="Stop recording").click()
    expect(kept(page).locator("video")).to_have_count(1)
    ask(page, "which picture has a cat?")
    expect(visitor_said(page).locator("video")).to_have_count(1)
    expect(answer(page)).not_to_be_empty()


def test_once_a_photograph_is_there_the_next_press_and_then_its_answer_are_seen(screen):
    show(screen, example_photos()[0].file)
    expect(screen.get_by_text("Now press a question below, or write your own and press Ask.")).to_be_visible()
    chips = screen.get_by_role("group", name="Questions to press")
    what = chips.get_by_role("button", name="What is this?")
    ask_button = screen.get_by_role("button", name="Ask", exact=True)
    for next_one in (kept(screen).locator("img"), screen.get_by_label("Your question"), what, ask_button):
        expect(next_one).to_be_in_viewport(ratio=1)
    what.click()
    expect(answer(screen).last).not_to_be_empty()
    expect(answer(screen).last).to_be_in_viewport(ratio=1)
    expect(screen.get_by_text("Now press a question below")).to_have_count(0)


HIDDEN = """picture => {
    const {left, right, top, bottom} = picture.getBoundingClientRect();
    const covers = [...document.querySelectorAll("button, label")].map(one => {
        if (one.contains(picture)) return 0;
        const box = one.getBoundingClientRect();
        const width = Math.min(right, box.right) - Math.max(left, box.left);
        return Math.max(0, width) * Math.max(0, Math.min(bottom, box.bottom) - Math.max(top, box.top));
    });
    return covers.reduce((all, one) => all + one) / ((right - left) * (bottom - top));
}"""
"""The part of a picture that buttons and names lie over."""


def test_buttons_and_names_do_not_hide_a_picture(screen, media):
    show(screen, media / "red.png")
    for picture in (kept(screen).locator("img"), screen.locator("#flamingo-chat img")):
        expect(picture).to_be_visible()
        assert picture.evaluate(HIDDEN) < 0.05
    remove = kept(screen).get_by_label("Remove file").bounding_box()
    assert min(remove["width"], remove["height"]) >= 24


BROKEN = """() => [...document.querySelectorAll("button")].filter(one => {
    const words = document.createRange();
    words.selectNodeContents(one);
    const lines = new Set([...words.getClientRects()].map(line => Math.round(line.top)));
    const most = one.matches("#models > .tab-wrapper [role=tab]") ? 2 : 1;
    const broken = lines.size > most || one.scrollWidth > one.clientWidth;
    return !one.childElementCount && one.offsetParent && broken;
}).map(one => one.textContent.trim())"""
"""Buttons with nothing but words on them, which stand in several lines or beyond their edges. The models'
tabs have two lines."""


def test_no_button_breaks_its_words_on_a_phone(visit):
    page = visit("Flamingo")
    page.set_viewport_size(PHONE)
    for model, parts in (("Flamingo", FLAMINGO_PARTS), ("MaMMUT", ()), ("PaLM", PALM_PARTS)):
        for tab in (
            model_tab(page, model),
            *(page.get_by_role("tab", name=part, exact=True) for part in parts),
        ):
            tab.click()
            page.wait_for_function("() => document.querySelectorAll('button').length > 10")
            assert page.evaluate(BROKEN) == []


def test_a_press_that_is_refused_leaves_the_page_where_it_is(visit, media):
    page = visit("Flamingo")
    page.set_viewport_size(PHONE)
    show(page, media / "red.png")
    ask_button = page.get_by_role("button", name="Ask", exact=True)
    expect(ask_button).to_be_in_viewport(ratio=1)
    ask_button.click()
    expect(page.get_by_test_id("toast-body")).to_contain_text("The question is empty; write one, such as")
    expect(page.locator("#flamingo-chat.heard")).to_have_count(0)
    expect(ask_button).to_be_in_viewport(ratio=1)
    expect(kept(page)).to_have_count(1)


DROP = """box => {
    const canvas = Object.assign(document.createElement("canvas"), {width: 64, height: 64});
    return new Promise(done => canvas.toBlob(blob => {
        const carried = new DataTransfer();
        carried.items.add(new File([blob], "dropped.png", {type: "image/png"}));
        box.dispatchEvent(new DragEvent("drop", {dataTransfer: carried, bubbles: true, cancelable: true}));
        box.dispatchEvent(new ClipboardEvent("paste", {clipboardData: carried, bubbles: true}));
        done();
    }));
}"""


def test_pictures_are_dropped_pasted_and_taken_away_again(visit):
    page = visit("Flamingo")
    page.locator("#flamingo-box").evaluate(DROP)
    expect(kept(page).locator("img")).to_have_count(2)
    kept(page).first.get_by_label("Remove file").click()
    expect(kept(page)).to_have_count(1)


# a conversation kept


@pytest.fixture
def alone(browser: Browser) -> Iterator[Page]:
    """A browser without a network."""
    context = browser.new_context(offline=True)
    context.set_default_timeout(PATIENCE_MS)
    yield context.new_page()
    context.close()


def test_a_conversation_is_saved_with_its_pictures(visit, media, alone, tmp_path):
    page = visit("Flamingo")
    start_over(page)
    ask(page, "What <b>color</b> is the background?", [media / "red.png"])
    expect(answer(page)).not_to_be_empty()
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_enabled()
    ask(page, "which picture has a cat?", [media / "short.mp4"])
    expect(answer(page)).to_have_count(2)
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_enabled()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save this conversation").click()
    assert download.value.suggested_filename == "conversation.html"
    download.value.save_as(tmp_path / "kept.html")
    alone.goto(f"file://{tmp_path}/kept.html")
    expect(alone.locator("article")).to_have_count(2)
    expect(alone.locator("article").first).to_contain_text("What <b>color</b> is the background?")
    expect(alone.locator("img")).to_have_js_property("naturalWidth", 64)
    expect(alone.locator("video")).to_have_js_property("error", None)
    said = answer(page).all_inner_texts()
    assert [text.strip() for text in alone.locator(".answer").all_inner_texts()] == [s.strip() for s in said]


def test_nothing_is_saved_before_something_was_asked(visit):
    page = visit("Flamingo")
    page.get_by_role("button", name="Save this conversation").click()
    expect(page.get_by_test_id("toast-body")).to_contain_text("Nothing was asked yet")
