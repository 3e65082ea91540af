"""What was asked for comes into sight, on a desk and on a phone, and nothing is wider than a phone."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from palm_demo.ui.flamingo.presets import TILES
from palm_demo.ui.photographs import example_photos
from tests.ui.hands import flamingo_said, model_tab, open_tab, press, start_over, unfold

DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


@pytest.fixture(params=[DESK, PHONE], ids=["desk", "phone"])
def mammut(request, visit) -> Page:
    page = visit("MaMMUT")
    page.set_viewport_size(request.param)
    return page


def box_of(one: Locator) -> dict:
    return one.bounding_box()


def test_an_uploaded_pictures_caption_comes_into_sight_beside_it(mammut):
    mammut.locator("#mammut-picture input[type=file]").set_input_files(example_photos()[0].file)
    caption, others = mammut.locator("#mammut-caption"), mammut.locator("#mammut-others-said")
    expect(mammut.get_by_label("MaMMUT sees")).not_to_have_value("")
    for one in (mammut.locator("#mammut-picture img"), caption, others):
        expect(one).to_be_in_viewport(ratio=1)
    picture, said = box_of(mammut.locator("#mammut-picture")), box_of(caption)
    if mammut.viewport_size == DESK:
        assert said["x"] > picture["x"] + picture["width"] and abs(said["y"] - picture["y"]) < 20
    else:
        assert 0 < said["y"] - picture["y"] - picture["height"] < 40


def test_a_photographs_caption_comes_into_sight(mammut):
    mammut.locator("#mammut-photos button").first.click()
    expect(mammut.get_by_label("MaMMUT sees")).not_to_have_value("")
    expect(mammut.locator("#mammut-others-said")).to_be_in_viewport(ratio=1)
    expect(mammut.locator("#mammut-caption")).to_be_in_viewport(ratio=1)


def test_the_search_button_stands_beside_the_words_and_is_no_larger_than_it_must_be(mammut):
    words, button = box_of(mammut.locator("#mammut-words")), box_of(mammut.locator("#mammut-search"))
    assert words["x"] + words["width"] <= button["x"]
    assert button["height"] <= 48 and button["width"] <= 110
    assert button["x"] + button["width"] <= mammut.viewport_size["width"]


@pytest.mark.parametrize("model", ["Flamingo", "MaMMUT", "PaLM"])
def test_a_phone_wraps_where_the_code_is(visit, model):
    page = visit(model)
    page.set_viewport_size(PHONE)
    for code in page.locator(".paper").locator("visible=true").locator("code").all():
        box, around = box_of(code), box_of(page.locator(".paper").locator("visible=true"))
        assert box["x"] + box["width"] <= around["x"] + around["width"] + 1


def test_a_tab_says_what_one_does_there(visit):
    page = visit("Flamingo")
    for model, verb in (("Flamingo", "Ask"), ("MaMMUT", "Describe & find"), ("PaLM", "Write")):
        expect(model_tab(page, model)).to_have_text(re.compile(f"^{verb} .*{model}$"))


def test_on_a_phone_all_beginnings_side_by_side_are_on_the_screen_at_once(visit):
    page = open_tab(visit("PaLM"), "Side by side")
    page.set_viewport_size(PHONE)
    press(page, "Write side by side")
    texts = [page.locator(f"#palm-columns-{place} textarea") for place in range(4)]
    for text in texts:
        expect(text).to_have_value(re.compile(r"^It was a dark and stormy night, and\s*\S"))
    page.wait_for_function("() => document.querySelector('#palm-columns-stop').disabled")
    boxes = [box_of(text) for text in texts]
    assert all(0 <= box["y"] <= PHONE["height"] - 100 for box in boxes), boxes
    left, right, *_ = boxes
    assert left["x"] + left["width"] <= right["x"]


def test_the_newest_answer_of_a_conversation_is_in_sight(visit):
    page = visit("Flamingo")
    page.set_viewport_size(DESK)
    start_over(page)
    for times, tile in enumerate(("photo", "way", "caption"), 1):
        page.locator("#flamingo-samples button").nth(list(TILES).index(tile)).click()
        expect(flamingo_said(page)).to_have_count(times)
    expect(flamingo_said(page).last).not_to_be_empty()
    expect(flamingo_said(page).last).to_be_in_viewport(ratio=1)


def test_what_is_drawn_or_opened_comes_into_sight(visit):
    page = visit("Flamingo")
    page.set_viewport_size(DESK)
    press(page, "Draw one")
    expect(page.get_by_role("button", name="Use this drawing")).to_be_in_viewport(ratio=0.9)
    page.get_by_role("tab", name="Make a scene").click()
    press(page, "Draw it")
    expect(page.locator("#scene-drawn figure > *").first).to_be_in_viewport(ratio=0.9)
    model_tab(page, "MaMMUT").click()
    unfold(page, "mammut-choose")
    expect(page.get_by_role("button", name="Choose a label")).to_be_in_viewport(ratio=1)
