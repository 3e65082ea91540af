"""The example photographs on the page: one press describes them, and Flamingo is asked about one."""

import re

from playwright.sync_api import expect

from palm_demo.ui.flamingo.presets import TILES
from palm_demo.ui.photographs import example_photos
from tests.ui.hands import flamingo_said, start_over, visitor_said


def test_a_press_describes_a_photograph(visit):
    page = visit("MaMMUT")
    photos = page.locator("#mammut-photos").get_by_role("button")
    expect(photos).to_have_count(len(example_photos()))
    photos.first.click()
    expect(page.get_by_label("MaMMUT sees")).to_have_value(re.compile("^a photo of "))
    expect(page.locator("#mammut-picture img")).to_be_visible()


def test_flamingo_is_asked_what_a_photograph_shows(visit):
    page = visit("Flamingo")
    start_over(page)
    page.locator("#flamingo-samples").get_by_role("button").nth(list(TILES).index("photo")).click()
    expect(visitor_said(page).locator("img")).to_have_count(1)
    expect(flamingo_said(page)).to_contain_text(re.compile(r"\w"))


def test_the_page_says_whose_photographs_they_are(visit):
    page = visit("Flamingo")
    page.get_by_role("button", name="About this page").click()
    expect(page.get_by_role("dialog", name="About this page")).to_contain_text("Stéfan van der Walt, CC0")
