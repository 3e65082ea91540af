"""What gradio does not document and we use does what we take it to do."""

from pathlib import Path

import gradio as gr
import pytest
from gradio import routes
from PIL import Image

from palm_demo.errors import BusyError
from palm_demo.internals.gradio_files import (
    ComponentMessage,
    file_data,
    image_file_data,
    new_folder,
    room,
    tabs_around,
    upload_folder,
)
from palm_demo.internals.gradio_page import (
    FOR_PROGRAMS,
    LOADING,
    first_files,
    late_core,
    send_little,
    with_card,
)


@pytest.fixture(autouse=True)
def uploads(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return tmp_path


def test_files_lie_where_the_environment_says(uploads):
    assert upload_folder() == uploads
    first, second = new_folder(), new_folder()
    assert first != second and first.parent == uploads and first.is_dir()


def test_a_file_is_told_of_as_clients_take_it(uploads):
    told = file_data(uploads / "scene.mp4")
    assert told["path"] == str(uploads / "scene.mp4") and told["meta"] == {"_type": "gradio.FileData"}


def test_a_picture_is_kept_under_its_content(uploads):
    red, again, blue = (image_file_data(Image.new("RGB", (8, 8), c)) for c in ("red", "red", "blue"))
    assert red["path"] == again["path"] != blue["path"]
    assert Path(red["path"]).is_relative_to(uploads)
    assert Image.open(red["path"]).getpixel((0, 0)) == (255, 0, 0)


def test_blocks_know_the_tabs_that_they_stand_in():
    with gr.Blocks(), gr.Tabs(), gr.Tab("outer", id="outer") as outer:
        with gr.Tabs(), gr.Tab("inner", id="inner") as inner, gr.Row():
            button = gr.Button()
        beside = gr.Button()
    assert tabs_around(button) == [inner, outer] and tabs_around(beside) == [outer]
    assert [tab.id for tab in tabs_around(button)] == ["inner", "outer"]


def test_a_conversation_with_a_component_comes_as_its_name_and_value():
    given = {"role": "user", "content": gr.Image("cat.png")}
    (message,) = gr.Chatbot().postprocess([given]).root
    (told,) = message.content
    assert isinstance(told, ComponentMessage) and told.component == "image"


def test_no_file_is_made_where_a_page_has_no_room(uploads):
    def full() -> None:
        raise BusyError("the page is full")

    token = room.set(full)
    try:
        for make in (new_folder, lambda: image_file_data(Image.new("RGB", (4, 4)))):
            with pytest.raises(BusyError, match="the page is full"):
                make()
    finally:
        room.reset(token)
    assert [*uploads.iterdir()] == []


def test_a_page_is_sent_without_what_programs_alone_read(monkeypatch):
    monkeypatch.setitem(routes.templates.env.filters, "toorjson", routes.toorjson)
    with gr.Blocks() as page:
        gr.Textbox("words", label="A box")
    config = page.get_config_file() | {"body_css": {}}
    assert config["components"][0].keys() > FOR_PROGRAMS
    shown = routes.templates.env.get_template("frontend/index.html")
    told = {"config": config, "gradio_api_info": {}, "base_url": "./"}
    whole = shown.render(**told)
    send_little()
    lean = shown.render(**told)
    assert "A box" in lean and not any(f'"{name}":' in lean for name in FOR_PROGRAMS)
    assert all(f'"{name}":' in whole for name in FOR_PROGRAMS)


def test_the_first_files_of_a_page_are_there_and_told_early():
    names, assets = first_files(), Path(routes.STATIC_TEMPLATE_LIB, "frontend", "assets")
    assert len(names) > 10 and all((assets / name).is_file() for name in names)
    assert {Path(name).suffix for name in names} == {".js", ".css"}
    for part in ("core-", "Blocks-"):
        assert any(name.startswith(part) for name in names)
    page = with_card(b"<head></head><gradio-app>", "a", "b", "c", "").decode()
    assert page.count("./assets/") == len(names)


def test_the_core_of_a_page_loads_what_closed_tabs_need_when_they_are_opened():
    name, script = late_core()
    assert name in first_files()
    assert all(ours in script and theirs not in script for theirs, ours in LOADING)


def test_a_page_has_one_card_and_it_is_ours():
    shown = routes.templates.env.get_template("frontend/index.html")
    page = shown.render(config={"title": "Gradio's"}, gradio_api_info={}, base_url="./").encode()
    mine = with_card(page, "My <page>", "What it does", "https://here/card.png", "<i>soon</i>").decode()
    head = mine[: mine.index("</head>")]
    assert head.count("og:title") == head.count("og:image") == head.count("twitter:card") == 1
    assert (
        'property="og:title" content="My &lt;page&gt;"' in head and "<title>My &lt;page&gt;</title>" in head
    )
    assert "gradio.app" not in head and "githubusercontent" not in head
    assert "<i>soon</i><gradio-app" in mine
