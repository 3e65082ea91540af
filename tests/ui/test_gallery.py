"""The gallery on the page: searched, filtered, compared, taken along."""

import csv
import zipfile

import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from playwright.sync_api import Page, expect

from palm_demo.gallery import Filters
from palm_demo.gallery.words import content_words, shares
from palm_demo.ui.mammut.finding import WORDS
from tests.ui.hands import expect_rings, press, shown, unfold


def expect_warning(page: Page, text: str) -> None:
    expect(page.get_by_test_id("toast-body").last).to_contain_text(text)


def test_a_caption_comes_with_what_might_have_been_said(visit, session):
    page = visit("MaMMUT")
    shown(page).first.click()
    expect(page.get_by_label("MaMMUT sees")).not_to_have_value("")
    others = page.locator("#mammut-others-said")
    expect(others).to_contain_text("%")
    expect(others).to_contain_text(page.get_by_label("MaMMUT sees").input_value())


@pytest.mark.parametrize("words", WORDS)
def test_what_the_page_offers_to_search_for_is_found(session, words):
    best = session.search(words, 1)[0]
    assert best.alike and shares(content_words(words), [best.caption]) == 1


def test_an_example_is_searched_for_in_one_click(visit):
    page = visit("MaMMUT")
    page.locator("#mammut-examples").get_by_role("button", name=WORDS[0]).click()
    expect(page.get_by_label("Search with words")).to_have_value(WORDS[0])
    expect(shown(page).first).to_contain_text(f"a {WORDS[0]}")


def test_filters_leave_only_captions_that_contain_the_words(visit, session):
    page = visit("MaMMUT")
    page.get_by_label("Search with words").fill("a cat")
    unfold(page, "mammut-filters")
    page.get_by_label("Caption contains").fill("WHITE background")
    press(page, "Search")
    best = session.search("a cat", 1, filters=Filters(contains="white background"))[0]
    expect(shown(page).first).to_contain_text(f"{best.score:.2f} · {best.caption}")
    captions = shown(page).all_inner_texts()
    assert captions and all("white background" in caption for caption in captions)


def test_filters_that_leave_nothing_say_so(visit):
    page = visit("MaMMUT")
    page.get_by_label("Search with words").fill("a cat")
    unfold(page, "mammut-filters")
    page.get_by_label("Added since").fill("2199-01-01")
    press(page, "Search")
    expect_warning(page, "No picture passes the filters")
    page.get_by_label("Added since").fill("some day")
    press(page, "Search")
    expect_warning(page, "is not a date")
    page.get_by_label("Added since").fill("2020-01-01")
    press(page, "Search")
    expect(shown(page)).to_have_count(12)


def test_nothing_like_it_is_said_and_the_ring_goes_with_what_was_clicked(visit, session):
    page = visit("MaMMUT")
    page.get_by_label("Search with words").fill("dog")
    page.keyboard.press("Enter")
    heading = page.locator("#mammut-heading")
    expect(heading).to_contain_text(f"The 12 pictures most like “dog”, of {len(session.gallery)}")
    expect(shown(page).first).to_contain_text("a dog")
    shown(page).nth(3).click()
    expect(page.get_by_label("MaMMUT sees")).not_to_have_value("")
    expect_rings(page, 1)
    page.get_by_label("Search with words").fill("zzzz qqq")
    page.keyboard.press("Enter")
    expect(heading).to_contain_text("Perhaps nothing here is like “zzzz qqq”. The nearest:")
    expect_rings(page, 0)


def test_a_picture_that_is_dropped_is_described_and_finds_its_like(visit, session, tmp_path):
    path = tmp_path / "fox.png"
    path.write_bytes(session.gallery.original(session.search("fox", 1)[0].id))
    page = visit("MaMMUT")
    page.locator("#mammut-picture input[type=file]").set_input_files(path)
    expect(page.get_by_label("MaMMUT sees")).to_have_value(session.caption(path))
    expect(shown(page).first).to_contain_text("1.00 · ")
    expect(page.locator("#mammut-others-said")).to_contain_text("%")


def test_several_pictures_become_a_table_with_what_failed(visit, session, media, tmp_path):
    page = visit("MaMMUT")
    unfold(page, "mammut-table")
    names = ["red.png", "text.png", "blue.png"]
    page.locator("#mammut-many-files input[type=file]").set_input_files([media / name for name in names])
    expect(page.locator("#mammut-many-files")).to_contain_text("blue")
    press(page, "Describe them all")
    with page.expect_download() as download:
        page.locator("#mammut-csv a[download]").first.click()
    download.value.save_as(tmp_path / "captions.csv")
    with open(tmp_path / "captions.csv", encoding="utf-8", newline="") as file:
        rows = {row["picture"]: row for row in csv.DictReader(file)}
    assert [*rows] == names
    assert rows["red.png"]["caption"] == session.caption(media / "red.png")
    assert rows["text.png"]["caption"] == "" and "not a picture" in rows["text.png"]["error"]
    expect(page.locator("#mammut-captions")).to_contain_text(rows["blue.png"]["caption"])


def test_words_and_picture_search_together(visit, session):
    page = visit("MaMMUT")
    shown(page).first.click()
    expect(page.locator("#mammut-picture img")).to_be_visible()
    page.get_by_label("Search with words").fill("yellow")
    unfold(page, "mammut-filters")
    press(page, "Search with words and picture")
    expect(shown(page)).to_have_count(12)
    expect(shown(page).filter(has_text="yellow")).not_to_have_count(0)
    scores = [float(text.split(" · ")[0]) for text in shown(page).all_inner_texts()]
    assert scores == sorted(scores, reverse=True)


def test_texts_and_pictures_are_compared_in_one_click(visit):
    page = visit("MaMMUT")
    unfold(page, "mammut-compare")
    press(page, "Compare")
    matrix = page.locator("#mammut-matrix")
    expect(matrix.locator("thead img")).to_have_count(5)
    expect(matrix.locator("tbody tr")).to_have_count(5)
    expect(matrix.locator("tbody td b")).to_have_count(5)


def test_chosen_pictures_and_texts_are_compared_and_texts_stay_text(visit, media):
    page = visit("MaMMUT")
    unfold(page, "mammut-compare")
    files = page.locator("#mammut-compared input[type=file]")
    files.set_input_files([media / "red.png", media / "blue.png"])
    expect(page.locator("#mammut-compared")).to_contain_text("blue")
    page.get_by_label("Texts").fill("a red background\n\n<b>bold</b>\na blue background")
    press(page, "Compare")
    matrix = page.locator("#mammut-matrix")
    expect(matrix.locator("tbody td")).to_have_count(6)
    expect(matrix.get_by_role("rowheader", name="<b>bold</b>")).to_be_visible()


def test_what_is_shown_can_be_taken_along(visit, tmp_path):
    page = visit("MaMMUT")
    page.get_by_label("Search with words").fill("a dog")
    press(page, "Search")
    expect(shown(page)).to_have_count(12)
    unfold(page, "mammut-change")
    press(page, "Pack the pictures shown above")
    with page.expect_download() as download:
        page.locator("#mammut-packed a[download]").first.click()
    download.value.save_as(tmp_path / "pictures.zip")
    with zipfile.ZipFile(tmp_path / "pictures.zip") as archive:
        names = archive.namelist()
    assert "metadata.parquet" in names
    assert sum(name.startswith("pictures/") for name in names) == 12


def test_visitors_add_nothing_unless_the_owner_lets_them(visit, client, media):
    page = visit("MaMMUT")
    unfold(page, "mammut-change")
    expect(page.locator("#mammut-change")).to_contain_text(
        "The owner of this page keeps the gallery as it is"
    )
    expect(page.locator("#mammut-add-run")).to_have_count(0)
    with pytest.raises(AppError, match="owner of this page"):
        client.predict([handle_file(media / "red.png")], api_name="/gallery_add")
    with pytest.raises(AppError, match="owner of this page"):
        client.predict(["0" * 64], api_name="/gallery_remove")
    assert client.predict(api_name="/gallery_info")["visitors_add"] is False
