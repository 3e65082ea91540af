"""Each bad input: a clear message, and the page lives on."""

import errno
import re
import threading
import urllib.error
import urllib.request

import pytest
from gradio import processing_utils
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from playwright.sync_api import Page, expect

from palm_demo.internals import gradio_files
from palm_demo.ui.flamingo import scenes, suggestions, tab
from tests.ui.hands import ask, flamingo_said, show, start_over

BAD_FILES = {
    "text.png": "not a picture",
    "cut.jpg": "damaged",
    "huge.png": "90 megapixels",
    "sound.mp4": "no video stream",
    "long.mp4": "600 seconds",
}
BAD_PICTURES = {name: message for name, message in BAD_FILES.items() if not name.endswith(".mp4")}
MANY = [f"many/{number}.png" for number in range(20)]


def expect_warning(page: Page, text: str) -> None:
    expect(page.get_by_test_id("toast-body")).to_contain_text(text)


def expect_flamingo_lives(page: Page) -> None:
    """An example still works in one click, and no error lies over the page."""
    start_over(page)
    page.locator("#flamingo-samples button").first.click()
    expect(flamingo_said(page)).to_have_count(1)
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_enabled()
    expect(page.get_by_text("Error", exact=True)).to_have_count(0)


@pytest.mark.parametrize(("name", "message"), BAD_FILES.items())
def test_flamingo_explains_what_is_wrong_with_a_file_and_lets_it_go(visit, media, name, message):
    page = visit("Flamingo")
    box = page.locator("#flamingo-media")
    box.locator("input[type=file]").set_input_files(media / name)
    expect_warning(page, message)
    expect(box.get_by_label("Remove file")).to_have_count(0)
    expect_flamingo_lives(page)


def test_of_several_files_those_stay_that_can_be_read(visit, media):
    page = visit("Flamingo")
    box = page.locator("#flamingo-media")
    box.locator("input[type=file]").set_input_files([media / "red.png", media / "text.png"])
    expect_warning(page, "text.png is not a picture")
    expect(box.get_by_label("Remove file")).to_have_count(1)
    ask(page, "what color is the background?")
    expect(flamingo_said(page)).to_have_count(1)


@pytest.fixture
def held_back(monkeypatch) -> threading.Event:
    """Set once the first look at files may end."""
    go_on, suggested = threading.Event(), tab.suggested_questions

    def look(session, asked, visitor, paths):
        if not go_on.is_set():
            assert go_on.wait(60)
        return suggested(session, asked, visitor, paths)

    monkeypatch.setattr(tab, "suggested_questions", look)
    return go_on


def test_a_file_that_comes_while_another_is_looked_at_stays(visit, media, held_back):
    page = visit("Flamingo")
    box = page.locator("#flamingo-media")
    for count, name in enumerate(("text.png", "red.png"), 1):
        box.locator("input[type=file]").set_input_files(media / name)
        expect(box.get_by_label("Remove file")).to_have_count(count)
    held_back.set()
    expect_warning(page, "text.png is not a picture")
    expect(box.get_by_label("Remove file")).to_have_count(1)
    ask(page, "what color is the background?")
    expect(flamingo_said(page)).to_have_count(1)


def test_suggestions_about_a_picture_that_is_gone_are_not_shown(visit, media, held_back):
    page = visit("Flamingo")
    show(page, media / "red.png")
    start_over(page)
    questions = page.locator("#flamingo-chips button")
    expect(questions).to_have_text([*suggestions.ANYTHING])
    held_back.set()
    show(page, media / "red.png")
    expect(questions).not_to_have_text([*suggestions.ANYTHING])
    start_over(page)
    expect(questions).to_have_text([*suggestions.ANYTHING])


def test_flamingo_refuses_20_files_at_once(visit, media):
    page = visit("Flamingo")
    show(page, *(media / name for name in MANY))
    ask(page, "what is this?")
    expect_warning(page, "20 files came at once and at most 8 fit")
    expect_flamingo_lives(page)


def test_flamingo_names_both_counts_of_a_mismatch(visit, media):
    page = visit("Flamingo")
    show(page, media / "red.png")
    ask(page, "<media> <media> question: which picture has a cat? answer:")
    expect_warning(page, "2 <media> marks")
    expect_flamingo_lives(page)


def test_flamingo_asks_for_a_prompt(visit, media):
    page = visit("Flamingo")
    show(page, media / "red.png")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect_warning(page, "question is empty")
    expect_flamingo_lives(page)


def test_palm_refuses_100_kb_and_lives_on(visit):
    page = visit("PaLM")
    prompt, text = page.get_by_label("Begin a text"), page.get_by_label("PaLM writes")
    page.get_by_role("button", name="Continue", exact=True).click()
    expect_warning(page, "no prompt yet")
    prompt.fill("x" * 100_000)
    page.get_by_role("button", name="Continue", exact=True).click()
    expect_warning(page, "100,000 bytes")
    expect(text).to_have_value("")
    prompt.fill("The night")
    page.get_by_role("button", name="Continue", exact=True).click()
    expect(text).not_to_have_value("")


def test_mammut_explains_what_is_wrong_with_a_picture(visit, media):
    page = visit("MaMMUT")
    for name, message in BAD_PICTURES.items():
        page.locator("#mammut-picture input[type=file]").set_input_files(media / name)
        expect(page.locator("#mammut-picture img")).to_have_attribute("src", re.compile(f"{name}$"))
        page.get_by_role("button", name="Describe", exact=True).click()
        expect_warning(page, message)
        page.locator("#mammut-picture").get_by_label("Remove Image").click()
    page.locator("#mammut-gallery button").first.click()
    expect(page.get_by_label("MaMMUT sees")).not_to_have_value("")


def test_mammut_says_that_a_vector_drawing_is_none_of_its_kinds(visit, tmp_path):
    (tmp_path / "a.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"><circle r="40"/></svg>')
    page = visit("MaMMUT")
    page.locator("#mammut-picture input[type=file]").set_input_files(tmp_path / "a.svg")
    expect_warning(page, "a.svg is not a picture that is read")


def test_mammut_says_what_is_missing(visit):
    page = visit("MaMMUT")
    page.get_by_role("button", name="Find similar", exact=True).click()
    expect_warning(page, "no picture yet")
    page.get_by_role("button", name="Search", exact=True).click()
    expect_warning(page, "nothing to search for yet")


@pytest.mark.parametrize(("name", "message"), BAD_FILES.items())
def test_api_explains_what_is_wrong_with_a_file(client, media, name, message):
    with pytest.raises(AppError, match=message):
        client.predict("<media> caption:", [handle_file(media / name)], api_name="/answer")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": "", "api_name": "/generate"}, "no prompt"),
        ({"prompt": "x" * 100_000, "api_name": "/generate"}, "100,000 bytes"),
        ({"prompt": "x", "scope": "nobody", "api_name": "/generate"}, "nobody"),
        ({"prompt": "x", "max_new_tokens": 100_000, "api_name": "/generate"}, "max_new_tokens is 100000"),
        ({"prompt": "x", "max_new_tokens": "many", "api_name": "/generate"}, "max_new_tokens is 'many'"),
        ({"prompt": "x", "temperature": -1.0, "api_name": "/generate"}, "temperature is -1"),
        ({"prompt": "<media>", "media": [], "api_name": "/answer"}, "1 <media> mark"),
        ({"prompt": "x", "media": None, "api_name": "/answer"}, "list of files"),
        (
            {"prompt": "x", "media": [], "answer": "a cat", "api_name": "/attention_maps"},
            "no picture or video",
        ),
        ({"prompt": "x", "media": [], "answer": " ", "api_name": "/attention_maps"}, "answer is empty"),
        ({"name": "dax", "api_name": "/make_scene"}, "unknown concept 'dax'; choose"),
        ({"name": "cat", "count": 9, "api_name": "/make_scene"}, "1 to 5 of a thing, not 9"),
        ({"name": "cat", "count": "many", "api_name": "/make_scene"}, "1 to 5 of a thing, not 'many'"),
        ({"name": "cat", "count": 2, "way": "up", "api_name": "/make_scene"}, "choose one of them"),
        ({"image": {"path": "/etc/passwd"}, "api_name": "/caption"}, "not an uploaded file"),
        ({"query": "", "api_name": "/search"}, "nothing to search for"),
        ({"query": "a cat", "k": 1000, "api_name": "/search"}, "k is 1000"),
    ],
)
def test_api_names_the_value_the_limit_and_the_remedy(client, arguments, message):
    with pytest.raises(AppError, match=f"(?i){message}"):
        client.predict(**arguments)


def test_api_names_what_is_wrong_with_labels(client, media):
    image = handle_file(media / "red.png")
    with pytest.raises(AppError, match="no labels"):
        client.predict(image, [" "], api_name="/classify")
    with pytest.raises(AppError, match="at most 50"):
        client.predict(image, [str(number) for number in range(51)], api_name="/classify")


def test_api_refuses_20_files_at_once(client, media):
    files = [handle_file(media / name) for name in MANY]
    with pytest.raises(AppError, match="20 files"):
        client.predict("<media>" * 20, files, api_name="/answer")


def test_api_fetches_no_links(client):
    link = {"path": "http://198.51.100.7/cat.png", "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(Exception, match="400"):
        client.predict(link, api_name="/caption")


def test_api_lives_on(client, media):
    assert client.predict("The night", max_new_tokens=3, api_name="/generate")
    assert isinstance(client.predict(handle_file(media / "red.png"), api_name="/caption"), str)


def test_a_file_beyond_the_limit_is_refused(address, settings):
    body = (
        b'--mark\r\nContent-Disposition: form-data; name="files"; filename="big.png"\r\n\r\n'
        + bytes(settings.limits.upload_bytes + 1)
        + b"\r\n--mark--\r\n"
    )
    headers = {"Content-Type": "multipart/form-data; boundary=mark"}
    with pytest.raises(urllib.error.HTTPError, match="413"):
        urllib.request.urlopen(urllib.request.Request(f"{address}gradio_api/upload", body, headers))


def test_a_full_disk_is_told_and_what_needs_no_file_goes_on(client, visit, monkeypatch):
    """A hit's picture and a made scene are files, on the page and in answers of the API alike."""

    def full(*told, **settings):
        raise OSError(errno.ENOSPC, "No space left on device")

    page = visit("MaMMUT")
    with monkeypatch.context() as patch:
        for module in (processing_utils, gradio_files):
            patch.setattr(module, "save_pil_to_cache", full)
        patch.setattr(scenes, "new_folder", full)
        for call in ({"query": "a cat", "api_name": "/search"}, {"name": "cat", "api_name": "/make_scene"}):
            with pytest.raises(AppError, match="cannot keep files now"):
                client.predict(**call)
        page.get_by_label("Search with words").fill("a cat")
        page.get_by_role("button", name="Search", exact=True).click()
        expect_warning(page, "cannot keep files now")
        assert client.predict("It was", max_new_tokens=4, api_name="/generate")
    assert client.predict(query="a cat", api_name="/search")
