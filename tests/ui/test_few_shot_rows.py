"""The rows of few-shot examples while their files are on the way."""

from types import SimpleNamespace

import gradio as gr
import pytest
from playwright.sync_api import Page, expect

from palm_demo.settings import load_settings
from palm_demo.ui.flamingo.few_shot import SCRIPT, TEMPLATE, Shot, ShotBuilder
from palm_demo.ui.theme import css

ROWS = [
    {"key": "first", "text": "this is a dax.", "files": []},
    {"key": "second", "text": "this is a wug.", "files": []},
    {"key": "last", "text": "this is a", "files": []},
]
RUN = """([script, value]) => {
    window.props = {value, most: 7};
    window.landed = {};
    const upload = file => new Promise(done => {
        const svg = "<svg xmlns='http://www.w3.org/2000/svg' width='64' height='64'/>";
        landed[file.name] = () => done({path: `/${file.name}`, url: `data:image/svg+xml,${svg}`});
    });
    document.body.className = "shots";
    new Function("element", "props", "upload", "watch", script)(document.body, props, upload, () => {});
}"""


@pytest.fixture
def page(browser):
    """The component alone. Each upload lasts until the test lets it land."""
    page = browser.new_page()
    page.set_content(TEMPLATE)
    page.add_style_tag(content=css())
    page.evaluate(RUN, [SCRIPT.read_text(encoding="utf-8"), ROWS])
    yield page
    page.close()


def send(page: Page, row: str, name: str) -> None:
    file = {"name": name, "mimeType": "image/png", "buffer": b"a picture"}
    page.get_by_label(f"Files of {row}", exact=True).set_input_files(file)
    page.wait_for_function("name => name in landed", arg=name)


def files_by_text(page: Page) -> dict[str, list[str]]:
    rows = page.evaluate("() => props.value")
    return {row["text"]: [file["orig_name"] for file in row["files"]] for row in rows}


def land(page: Page, name: str) -> None:
    page.evaluate("name => landed[name]()", name)


def test_a_file_reaches_its_row_wherever_that_was_moved_meanwhile(page):
    send(page, "Example 1", "dax.png")
    page.get_by_role("button", name="Move Example 1 down").click()
    land(page, "dax.png")
    expect(page.get_by_role("group", name="Example 2").get_by_role("img")).to_have_count(1)
    assert files_by_text(page) == {"this is a wug.": [], "this is a dax.": ["dax.png"], "this is a": []}


def test_a_file_whose_row_was_removed_meanwhile_goes_into_no_other(page):
    send(page, "Example 1", "dax.png")
    send(page, "The question", "asked.png")
    page.get_by_role("button", name="Remove Example 1").click()
    land(page, "dax.png")
    expect(page.get_by_role("status")).to_have_text("dax.png was left out: its row is no longer there.")
    land(page, "asked.png")
    expect(page.get_by_role("group", name="The question").get_by_role("img")).to_have_count(1)
    assert files_by_text(page) == {"this is a wug.": [], "this is a": ["asked.png"]}


def test_the_question_stays_when_the_last_example_is_removed(page):
    for _ in ROWS[:-1]:
        page.get_by_role("button", name="Remove Example 1").click()
    expect(page.get_by_label("Words of The question")).to_have_value("this is a")
    expect(page.get_by_role("group")).to_have_count(1)


def test_what_is_written_stays_under_the_hand_when_its_row_is_moved(page):
    page.get_by_role("button", name="Move Example 1 down").click()
    expect(page.get_by_label("Words of Example 2")).to_be_focused()
    page.keyboard.press("End")
    page.keyboard.type(" Look!")
    assert "this is a dax. Look!" in files_by_text(page)


def test_what_an_empty_row_shows_is_told_from_what_is_written(page):
    page.get_by_role("button", name="Add an example").click()
    for words, hint in (
        ("Example 3", "for example: dax"),
        ("The question", "(if left empty: what is this?)"),
    ):
        expect(page.get_by_label(f"Words of {words}")).to_have_attribute("placeholder", hint)


def test_an_example_is_added_before_the_question_and_its_button_stands_there(page):
    add = page.get_by_role("button", name="Add an example")
    add.click()
    last = page.get_by_role("group", name="Example 3").bounding_box()
    question = page.get_by_role("group", name="The question").bounding_box()
    assert last["y"] + last["height"] <= add.bounding_box()["y"] < question["y"]
    expect(page.get_by_label("Words of The question")).to_have_value("this is a")


@pytest.mark.parametrize("width", [390, 1280])
def test_the_button_that_removes_a_picture_stands_beside_it(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    for name in ("a.png", "b.png"):
        send(page, "Example 1", name)
        land(page, name)
    example = page.get_by_role("group", name="Example 1")
    pictures, buttons = example.get_by_role("img"), example.get_by_role("button", name="Remove file")
    expect(pictures).to_have_count(2)
    expect(pictures.last).to_have_js_property("naturalWidth", 64)
    for picture, button in zip(pictures.all(), buttons.all(), strict=True):
        seen, pressed = picture.bounding_box(), button.bounding_box()
        assert seen["x"] + seen["width"] <= pressed["x"] and seen["width"] > 60
        assert min(pressed["width"], pressed["height"]) >= 24
        assert pressed["x"] + pressed["width"] <= example.get_by_role("textbox").bounding_box()["x"]


def test_rows_keep_their_keys_when_the_page_adds_an_example():
    with gr.Blocks():
        session = SimpleNamespace()
        builder = ShotBuilder(session, load_settings().limits)
    empty = builder.shots.value
    assert [row["text"] for row in empty] == ["", ""]
    assert len({row["key"] for row in empty}) == 2
    filled = builder.put(empty, Shot("this is a dax.", ("a.png",)))
    assert [row["key"] for row in filled] == [row["key"] for row in empty]
    more = builder.put(filled, Shot("this is a wug.", ("b.png",)))
    first, added, question = [row["key"] for row in more]
    assert [first, question] == [row["key"] for row in empty] and added not in (first, question)
    assert [row["text"] for row in more] == ["this is a dax.", "this is a wug.", ""]
