"""The rows of few-shot examples while their files are on the way."""

from types import SimpleNamespace

import gradio as gr
import pytest
from playwright.sync_api import Page, expect

from palm_demo.settings import load_settings
from palm_demo.ui.flamingo.few_shot import SCRIPT, TEMPLATE, Shot, ShotBuilder

ROWS = [
    {"key": "first", "text": "this is a dax.", "files": []},
    {"key": "second", "text": "this is a wug.", "files": []},
    {"key": "last", "text": "this is a", "files": []},
]
RUN = """([script, value]) => {
    window.props = {value, most: 7};
    window.landed = {};
    const upload = file => new Promise(done => {
        landed[file.name] = () => done({path: `/${file.name}`, url: "data:,"});
    });
    new Function("element", "props", "upload", "watch", script)(document.body, props, upload, () => {});
}"""


@pytest.fixture
def page(browser):
    """The component alone. Each upload lasts until the test lets it land."""
    page = browser.new_page()
    page.set_content(TEMPLATE)
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
