"""Pictures that visitors and programs add to the gallery and remove from it."""

import json
import re
import threading
from dataclasses import replace

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from playwright.sync_api import expect

from palm_demo.gallery import Gallery
from palm_demo.media.kinds import FORMATS
from palm_demo.session.starter_gallery import open_or_begin
from palm_demo.settings import GalleryRules
from tests.ui.hands import press, shown, unfold


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
    expect(other.get_by_test_id("toast-body").last).to_contain_text("not one that you added")
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
