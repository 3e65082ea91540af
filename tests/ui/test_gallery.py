"""The gallery on the page and for programs: searched, filtered, compared, added to, taken along."""

import csv
import json
import re
import threading
import zipfile
from dataclasses import replace

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from playwright.sync_api import Page, expect

from palm_demo.gallery import Filters, Gallery
from palm_demo.gallery.words import content_words, share
from palm_demo.media.kinds import FORMATS
from palm_demo.session.starter_gallery import open_or_begin
from palm_demo.settings import GalleryRules
from palm_demo.ui.mammut.finding import WORDS


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def unfold(page: Page, accordion: str) -> None:
    page.locator(f"#{accordion} > button").click()


def shown(page: Page):
    return page.locator("#mammut-gallery button")


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
    assert best.alike and share(content_words(words), best.caption) == 1


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
    expect(heading).to_contain_text(f"12 pictures of {len(session.gallery)}, best first")
    expect(shown(page).first).to_contain_text("a dog")
    shown(page).nth(3).click()
    expect(page.get_by_label("MaMMUT sees")).not_to_have_value("")
    ringed = page.locator("#mammut-gallery [aria-current=true], #mammut-gallery .selected")
    expect(ringed).to_have_count(1)
    page.get_by_label("Search with words").fill("zzzz qqq")
    page.keyboard.press("Enter")
    expect(heading).to_contain_text("Nothing like “zzzz qqq” is here. The nearest:")
    expect(ringed).to_have_count(0)


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
    expect(page.locator("#mammut-add")).to_have_count(0)
    with pytest.raises(AppError, match="owner of this page"):
        client.predict([handle_file(media / "red.png")], api_name="/gallery_add")
    with pytest.raises(AppError, match="owner of this page"):
        client.predict(["0" * 64], api_name="/gallery_remove")
    assert client.predict(api_name="/gallery_info")["visitors_add"] is False


def test_search_takes_words_and_filters(client, session):
    query = session.gallery.sample(1, seed=1)[0]
    found = client.predict("a cat", 5, "dog", "background", "2020-01-01", api_name="/search")
    hits = session.search("a cat", 5, words="dog", filters=Filters(contains="background"))
    assert [hit["id"] for hit in found] == [hit.id for hit in hits]
    assert client.predict("a cat", 5, contains=query.caption, api_name="/search")[0]["id"] == query.id
    with pytest.raises(AppError, match="is not a date"):
        client.predict("a cat", 5, since="x", api_name="/search")


def test_caption_alternatives_are_those_of_the_session(client, session, media):
    given = client.predict(handle_file(media / "red.png"), 3, api_name="/caption_alternatives")
    assert given == pytest.approx(session.caption_alternatives(media / "red.png", 3))
    with pytest.raises(AppError, match="1 to 20"):
        client.predict(handle_file(media / "red.png"), 10**6, api_name="/caption_alternatives")


def test_similarities_are_those_of_the_session(client, session, media):
    files, texts = [media / "red.png", media / "blue.png"], ["a red background", "a cat", "a dog"]
    given = client.predict(texts, [handle_file(file) for file in files], api_name="/similarity")
    for row, expected in zip(given, session.similarity(texts, files).tolist(), strict=True):
        assert row == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "name", "message"),
    [
        ((["a"] * 51, []), "/similarity", "51 texts"),
        (("a", []), "/similarity", "not a list"),
        (([], []), "/similarity", "no texts"),
        (([],), "/gallery_export", "name 1 to"),
        ((["0" * 64] * 25,), "/gallery_export", "25 pictures"),
        ((["0" * 64],), "/gallery_export", "any more"),
        ((["0" * 65],), "/gallery_export", "not a list of ids"),
    ],
)
def test_programs_are_told_what_is_wrong(client, arguments, name, message):
    with pytest.raises(AppError, match=message):
        client.predict(*arguments, api_name=name)


def test_an_export_holds_the_pictures_asked_for(client, session):
    ids = [item.id for item in session.gallery.sample(2, seed=5)]
    with zipfile.ZipFile(client.predict(ids, api_name="/gallery_export")) as archive:
        assert {f"pictures/{id}.png" for id in ids} <= set(archive.namelist())


@pytest.fixture(scope="module")
def own_gallery(session, tmp_path_factory) -> Gallery:
    """A gallery of its own on the disk, so that what these tests add stays here."""
    return open_or_begin(tmp_path_factory.mktemp("gallery"), session.mammut)


@pytest.fixture(scope="module")
def open_settings(settings, own_gallery):
    """As an owner writes them who lets visitors add pictures: six more at most."""
    return replace(settings, gallery=GalleryRules(visitors=True, pictures=len(own_gallery) + 6))


@pytest.fixture(scope="module")
def open_page(session, own_gallery, open_settings, serve):
    """The address of a page whose gallery visitors may add to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(session.__dict__, "gallery", own_gallery)
        yield serve(session, open_settings)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Pictures that the start gallery does not have, and one that is none."""
    folder = tmp_path_factory.mktemp("drawn")
    for place, colour in enumerate(("red", "lime", "blue")):
        picture = Image.radial_gradient("L").convert("RGB")
        picture.paste(colour, (20 + 40 * place, 20, 90 + 40 * place, 200))
        picture.save(folder / f"secret{place}.png")
    (folder / "text.png").write_text("words")
    return folder


def test_an_added_picture_is_found_by_all_and_removed_by_its_owner_alone(
    visit, strays, open_page, own_gallery, drawn
):
    mine, other = visit("MaMMUT", open_page), visit("MaMMUT", open_page)
    unfold(mine, "mammut-change")
    mine.locator("#mammut-files input[type=file]").set_input_files(
        [drawn / "secret0.png", drawn / "text.png"]
    )
    expect(mine.locator("#mammut-files")).to_contain_text("secret0")
    press(mine, "Add to the gallery")
    told = mine.get_by_label("What was added")
    expect(told).to_have_value(f"1 added.\ntext.png is not a picture that is read: {FORMATS}.")
    assert "secret0.png" in own_gallery.read_columns(["name"])["name"].to_pylist()
    expect(mine.locator("#mammut-heading")).to_contain_text(f"a gallery of {len(own_gallery)} pictures")
    expect(shown(mine).first).to_contain_text(own_gallery.items([added_last(own_gallery)])[0].caption)
    for page in (other, mine):
        page.locator("#mammut-picture input[type=file]").set_input_files(drawn / "secret0.png")
        expect(page.locator("#mammut-picture img")).to_be_visible()
        press(page, "Find similar")
        expect(shown(page).first).to_contain_text("1.00")
        shown(page).first.click()
        expect(page.get_by_label("MaMMUT sees")).not_to_have_value("")
    unfold(other, "mammut-change")
    press(other, "Remove the picture I clicked")
    expect_warning(other, "not one that you added")
    count = len(own_gallery)
    press(mine, "Remove the picture I clicked")
    expect(told).to_have_value(re.compile("^Removed: "))
    assert len(own_gallery) == count - 1
    expect(shown(mine)).to_have_count(11)


def added_last(gallery: Gallery) -> str:
    rows = gallery.read_columns(["id", "added"]).to_pylist()
    return max(rows, key=lambda row: row["added"])["id"]


def ids_of(gallery: Gallery) -> set[str]:
    return {id for part in gallery.batches(["id"]) for id in part["id"].to_pylist()}


@pytest.fixture
def one_look(session, monkeypatch):
    """Pictures are looked at until one has been; the next waits for the event."""
    real, go_on = session.mammut.embed_and_caption, threading.Semaphore(1)

    def embed_and_caption(images):
        assert go_on.acquire(timeout=60), "nobody let the adding go on"
        return real(images)

    monkeypatch.setattr(session.mammut, "embed_and_caption", embed_and_caption)
    return go_on


def test_adding_shows_how_far_it_is_and_what_was_added_before_a_stop_stays(
    visit, open_page, own_gallery, drawn, one_look
):
    page, before = visit("MaMMUT", open_page), ids_of(own_gallery)
    unfold(page, "mammut-change")
    files = page.locator("#mammut-files")
    files.locator("input[type=file]").set_input_files([drawn / f"secret{place}.png" for place in range(3)])
    expect(files).to_contain_text("secret2")
    press(page, "Add to the gallery")
    told = page.get_by_label("What was added")
    expect(told).to_have_value("Looking at secret1.png, 2 of 3 …\n1 added.")
    with page.expect_response(lambda response: "/run/" in response.url):
        page.locator("#mammut-add-stop").click()
    one_look.release()
    expect(told).to_have_value("Stopped after 2 of 3; add them again to go on.\n2 added.")
    assert len(ids_of(own_gallery) - before) == 2
    expect(files).to_contain_text("secret2")
    one_look.release(3)
    press(page, "Add to the gallery")
    expect(told).to_have_value(
        "1 added.\nsecret0.png is in the gallery already.\nsecret1.png is in the gallery already."
    )
    expect(files).not_to_contain_text("secret2")
    own_gallery.remove([*ids_of(own_gallery) - before])


def test_axe_finds_nothing_serious_where_pictures_are_added(visit, open_page, drawn, serious):
    page = visit("MaMMUT", open_page)
    unfold(page, "mammut-change")
    page.locator("#mammut-files input[type=file]").set_input_files(drawn / "text.png")
    expect(page.locator("#mammut-files")).to_contain_text("text")
    press(page, "Add to the gallery")
    expect(page.get_by_label("What was added")).to_have_value(re.compile("^0 added"))
    assert serious(page) == []


@pytest.mark.slow
def test_programs_add_and_remove_their_own(open_page, own_gallery, drawn):
    first, second = Client(open_page, verbose=False), Client(open_page, verbose=False)
    given = first.predict(
        [handle_file(drawn / "secret1.png"), handle_file(drawn / "text.png")], api_name="/gallery_add"
    )
    assert len(given["added"]) == 1
    assert "not a picture" in given["unreadable"]["text.png"]
    again = second.predict([handle_file(drawn / "secret1.png")], api_name="/gallery_add")
    assert (again["added"], again["copies"]) == ([], 1)
    with pytest.raises(AppError, match="not one that you added"):
        second.predict(given["added"], api_name="/gallery_remove")
    assert first.predict(given["added"], api_name="/gallery_remove") == 1


def call_unknown(address: str, endpoint: str, *data) -> tuple[bool, object]:
    """Whether a call without a cookie ends well, and what it gives."""
    at = f"{address}gradio_api/call/{endpoint}"
    event = httpx.post(at, json={"data": data}).json()["event_id"]
    how, said = httpx.get(f"{at}/{event}", timeout=60).text.strip().split("\n")[-2:]
    return how == "event: complete", json.loads(said.removeprefix("data: "))


def test_who_is_not_known_may_add_and_not_remove(open_page, own_gallery, drawn):
    with (drawn / "secret2.png").open("rb") as file:
        path = httpx.post(f"{open_page}gradio_api/upload", files={"files": file}).json()[0]
    well, given = call_unknown(open_page, "gallery_add", [{"path": path}])
    assert well and len(given[0]["added"]) == 1
    well, said = call_unknown(open_page, "gallery_remove", given[0]["added"])
    assert not well and "not one that you added" in said["error"]
    own_gallery.remove(given[0]["added"])


def test_a_full_gallery_takes_no_more(open_page, own_gallery, open_settings, media):
    client, count = Client(open_page, verbose=False), len(own_gallery)
    many = [handle_file(media / f"many/{number}.png") for number in range(7)]
    with pytest.raises(AppError, match=f"has {count} pictures and may have {open_settings.gallery.pictures}"):
        client.predict(many, api_name="/gallery_add")
    assert len(own_gallery) == count
