"""Every event of the page's own configuration, on every road, is sent what no visitor may name."""

import json
import os
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.ports import free_port
from tests.ui.boundary import hostile_files, hostile_paths, running, watched

SHAPES = (
    lambda file: file,
    lambda file: [file],
    lambda file: {"text": "what is this?", "files": [file]},
    lambda file: [{"role": "user", "content": [{"file": file, "type": "file"}]}],
    lambda file: {"image": file, "caption": None},
    lambda file: {"video": file, "subtitles": file},
)
"""How components and endpoints hold files."""
OF_EACH_KIND = ("/secret.png", "/dev/zero", "/pipe.png", "/link.png", "example.com/cat.png")
ASSISTANT = {"accept": "application/json, text/event-stream"}


@pytest.fixture(scope="module", params=["launched", "mounted"])
def road(request, address, session, settings, tmp_path_factory) -> Iterator[httpx.Client]:
    """A client of a page with all roads open: as app.py serves it, and as the Ray ingress mounts it."""
    from palm_demo.ui import page

    blocks = page.build(session, settings, tmp_path_factory.mktemp("road"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PALM_DEMO_MCP", "1")
        if request.param == "mounted":
            with (
                running(page.mount(blocks, settings, "127.0.0.1")) as url,
                httpx.Client(base_url=url) as client,
            ):
                yield client
            return
        place = {"server_name": "127.0.0.1", "server_port": free_port()}
        _, url, _ = page.launch(blocks, settings, **place, prevent_thread_lock=True, quiet=True)
    with httpx.Client(base_url=url) as client:
        yield client
    blocks.close(verbose=False)


@pytest.fixture(scope="module")
def paths(address, tmp_path_factory) -> list[str]:
    return hostile_paths(tmp_path_factory.mktemp("foreign"), Path(os.environ["GRADIO_TEMP_DIR"]))


@pytest.fixture
def untouched(paths) -> Iterator[None]:
    """Nothing of it is opened, and nobody is called."""
    with watched() as seen:
        yield
    opened = {os.path.basename(path) for path in seen} & {os.path.basename(path) for path in paths}
    assert not {name for name in opened if name.endswith(".png") or name in ("zero", "environ", "passwd")}
    assert not [one for one in seen if one.startswith("socket.") and "127.0.0.1" not in one]
    assert not [one for one in seen if "127.0.0.1', 9)" in one]


def events(road: httpx.Client) -> list[dict]:
    config = road.get("config").json()
    assert len(config["dependencies"]) > 60
    return config["dependencies"]


@pytest.mark.slow
def test_no_event_takes_a_file_that_is_not_the_visitors_by_any_call(road, paths, untouched):
    """Each private event is sent all of it, and every event one of each kind by every road."""
    shapes, files = cycle(SHAPES), hostile_files(paths)
    kinds = [file for file in files if str(file.get("path")).endswith(OF_EACH_KIND)]
    assert len(kinds) >= 2 * len(OF_EACH_KIND)
    for event in events(road):
        named = event["api_name"] if event["api_visibility"] == "public" else None
        roads = ["run/predict", "api/predict", *([f"call/{named}", f"call/v2/{named}"] if named else [])]
        for file in files:
            shape = next(shapes)
            data = [shape(file) for _ in event["inputs"]] or [shape(file)]
            body = {"data": data, "fn_index": event["id"], "session_hash": "foreign"}
            for path in ["queue/join", *roads] if file in kinds else [] if named else ["queue/join"]:
                sent = {"anything": shape(file)} if "v2" in path else body
                answer = road.post(f"gradio_api/{path}", json=sent)
                if named and answer.status_code == 200:
                    assert path == "queue/join" and not succeeds(road, "foreign"), (named, file)
                else:
                    assert 400 <= answer.status_code < 500, (path, event["api_name"], file, answer.text)


def succeeds(road: httpx.Client, session: str) -> bool:
    """Whether the one event of a session ends well: a program hears of a refusal by its event's error."""
    with road.stream("GET", "gradio_api/queue/data", params={"session_hash": session}) as lines:
        told = [json.loads(line.removeprefix("data: ")) for line in lines.iter_lines() if line]
    ended = [message for message in told if message["msg"] == "process_completed"]
    assert len(ended) == 1
    return ended[0]["success"]


def test_no_tool_takes_a_file_that_is_not_the_visitors(road, paths, untouched):
    def ask(method: str, params: dict) -> httpx.Response:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return road.post("gradio_api/mcp/", json=body, headers=ASSISTANT)

    tools = [tool for tool in road.get("gradio_api/mcp/schema").json() if tool["inputSchema"]["properties"]]
    assert len(tools) > 10
    shapes = cycle(SHAPES)
    for tool in tools:
        for file in hostile_files(paths):
            shape = next(shapes)
            arguments = {name: shape(file) for name in tool["inputSchema"]["properties"]}
            answer = ask("tools/call", {"name": tool["name"], "arguments": arguments})
            told = json.loads(answer.text.rpartition("data: ")[2])  # of the guard, or of the tool itself
            assert told["result"]["isError"], (tool["name"], file, answer.text)


@pytest.mark.slow
def test_words_do_not_stand_where_a_file_belongs(road, paths, untouched):
    components = {part["id"]: part["type"] for part in road.get("config").json()["components"]}
    taking = ("image", "file", "uploadbutton", "multimodaltextbox", "video", "gallery")
    met = 0
    for event in events(road):
        for place, component in enumerate(event["inputs"]):
            if components[component] not in taking:
                continue
            for path in paths:
                data = [path if other == place else None for other in range(len(event["inputs"]))]
                body = {"data": data, "fn_index": event["id"], "session_hash": "words"}
                answer = road.post("gradio_api/queue/join", json=body)
                assert answer.status_code == 400, (event["api_name"], path, answer.text)
                met += 1
    assert met > 50


@pytest.mark.parametrize("way", ["file=", "file/", "proxy=", "stream/"])
def test_no_foreign_file_is_served(road, paths, untouched, way):
    for path in paths:
        answer = road.get(f"gradio_api/{way}{quote(path)}")
        assert answer.status_code in (403, 404), (path, answer.text)


def test_what_a_visitor_uploaded_is_anothers_nowhere(road, tmp_path):
    road.cookies.clear()
    road.get("config")
    (tmp_path / "mine.txt").write_text("mine")
    with (tmp_path / "mine.txt").open("rb") as file:
        path = road.post("gradio_api/upload", files={"files": file}).json()[0]
    assert road.get(f"gradio_api/file={path}").text == "mine"
    with httpx.Client(base_url=road.base_url) as other:
        for visits in (False, True):
            if visits:
                other.get("config")
            assert other.get(f"gradio_api/file={path}").status_code == 403
            body = {"data": [{"path": path}]}
            assert other.post("gradio_api/call/caption", json=body).status_code == 400
    assert road.post("gradio_api/call/caption", json={"data": [{"path": path}]}).status_code == 200
