"""What Gradio is held to: the parts of it that are not public and that the trust boundary stands on."""

import asyncio
import inspect
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from types import SimpleNamespace

import gradio as gr
import httpx
import pytest
from gradio import http_server, networking, processing_utils, route_utils, routes
from gradio.mcp import GradioMCPServer
from gradio.state_holder import SessionState

from palm_demo.errors import MediaError
from palm_demo.internals.gradio_files import keep_files, new_folder, upload_folder
from palm_demo.ui.boundary import gradio_insides
from palm_demo.ui.boundary.files import Files
from palm_demo.ui.boundary.network import Network
from palm_demo.ui.boundary.visitors import Visitors
from tests.ports import free_port
from tests.ui.boundary import asked, run_apart


def parameters(function) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_every_road_leads_through_process_api():
    """The queue and the direct routes by call_process_api, MCP's cheap tools by themselves."""
    for caller in (route_utils.call_process_api, GradioMCPServer.create_mcp_server):
        assert ".process_api(" in inspect.getsource(caller)
    for module in (routes, route_utils, http_server):
        assert ".call_function(" not in inspect.getsource(module)
    assert parameters(gr.Blocks.process_api)[:6] == [
        "self", "block_fn", "inputs", "state", "request", "iterator",
    ]  # fmt: skip
    assert parameters(gr.Blocks.postprocess_data) == ["self", "block_fn", "predictions", "state"]
    assert "self.postprocess_data(" in inspect.getsource(gr.Blocks.process_api)


def test_launch_asks_the_module_for_its_server():
    assert "http_server.start_server(" in inspect.getsource(gr.Blocks.launch)
    taken = ["app", "server_name", "server_port", "ssl_keyfile", "ssl_certfile", "ssl_keyfile_password"]
    assert parameters(http_server.start_server) == taken
    before = http_server.start_server
    with gradio_insides.served_behind(lambda app, host: app):
        assert http_server.start_server is not before
    assert http_server.start_server is before


def test_a_page_is_served_though_it_answers_too_late_for_gradio(monkeypatch):
    monkeypatch.setattr(networking, "url_ok", lambda url: False)
    with gr.Blocks() as page:
        gr.HTML("here")
    with pytest.raises(ValueError, match="localhost is not accessible"):
        page.launch(server_port=free_port(), prevent_thread_lock=True, quiet=True, share=False)
    page.close(verbose=False)
    _, address, _ = page.launch(
        server_port=free_port(), prevent_thread_lock=True, quiet=True, share=False, **gradio_insides.UNASKED
    )
    assert httpx.get(address).status_code == 200
    page.close(verbose=False)


def test_nothing_that_a_visitor_names_is_fetched():
    gradio_insides.fetch_nothing()
    url = "http://127.0.0.1:9/cat.png"
    for fetch in (
        processing_utils.ssrf_protected_download,
        processing_utils.save_url_to_cache,
        processing_utils.unsafe_download,
    ):
        with pytest.raises(MediaError, match="fetches no links"):
            fetch(url, "/nowhere")
    later = (
        processing_utils.async_ssrf_protected_download,
        processing_utils.async_ssrf_protected_get,
        routes.secure_url_stream_response,
        route_utils.secure_url_stream_response,
    )
    for fetch in later:
        with pytest.raises(MediaError, match="fetches no links"), ThreadPoolExecutor(1) as executor:
            executor.submit(asyncio.run, fetch(url, "/nowhere")).result()


def test_no_other_part_of_gradio_fetches_by_its_own_name():
    """A name that was imported elsewhere would go on to fetch."""
    for name in ("blocks", "route_utils", "components.file", "components.video", "components.upload_button"):
        module = __import__(f"gradio.{name}", fromlist=["x"])
        for fetch in ("save_url_to_cache", "async_ssrf_protected_download", "unsafe_download"):
            assert not hasattr(module, fetch), f"{name} has {fetch} of its own"


@pytest.fixture
def page():
    with gradio_insides.GuardedBlocks() as page:
        box, picture, files = gr.Textbox(), gr.Image(), gr.File(file_count="multiple")
        both = gr.MultimodalTextbox()
        box.submit(lambda *_: "", [box, picture, files, both], box, api_visibility="private")

        def shout(text: str) -> str:
            return text.upper()

        gr.api(shout, queue=False)
    return page.queue()


def test_gradio_deletes_the_files_of_a_set_but_those_that_a_component_keeps(page, tmp_path):
    kept, gone = tmp_path / "kept", tmp_path / "gone"
    for file in (kept, gone):
        file.write_text("x")
    (box, *_) = page.blocks.values()
    files = {str(kept)}
    keep_files(box, files)
    gradio_insides.Insides(page).deletes([kept, gone])
    route_utils.delete_files_created_by_app(page, age=-1)
    assert kept.exists() and not gone.exists()
    files.clear()
    route_utils.delete_files_created_by_app(page, age=-1)
    assert not kept.exists()


@pytest.mark.parametrize("fails", [False, True])
def test_files_that_an_event_makes_are_deleted_and_counted_whether_they_are_shown_or_not(fails, tmp_path):
    counted, made = [], []

    def draw():
        folder = new_folder()
        for name, size in (("shown.txt", 10), ("hidden.txt", 200)):
            (folder / name).write_bytes(b"x" * size)
            made.append(folder / name)
        if fails:
            raise ValueError
        return str(made[0]), [str(made[1])]

    with pytest.MonkeyPatch.context() as patch, gradio_insides.GuardedBlocks() as page:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
        shown, hidden = gr.File(), gr.State()
        gr.Button().click(draw, None, [shown, hidden])
        page.files = Files(upload_folder(), 1000)
        page.upload_quotas = SimpleNamespace(
            check_room=lambda address: None, keeps=lambda address, size: counted.append(size)
        )
        visitor = Visitors(Network.of("0.0.0.0")).of(asked())
        patch.setattr(gradio_insides, "visitor_of", lambda request: visitor)
        run = page.process_api(page.fns[0], [], SessionState(page))
        with pytest.raises(gr.Error) if fails else nullcontext():
            run_apart(run)
    assert {*map(str, made)} <= page.upload_file_set and len(made) == 2
    assert sum(counted) == 210


def test_events_are_found_by_number_and_public_ones_by_name(page):
    insides = gradio_insides.Insides(page)
    assert insides.event(0).api_visibility == "private" and insides.event(1) is insides.named("shout")
    assert not insides.named("shout").queue and insides.event(0).queue
    for number in (-1, 2, True, 0.0, "0", None, [0]):
        assert insides.event(number) is None
    assert [gradio_insides.number_of(insides.event(number)) for number in (0, 1)] == [0, 1]
    assert insides.named(insides.event(0).api_name) is None and insides.named("upload") is None


def test_a_tool_is_found_by_the_name_that_it_has_on_a_space(page, monkeypatch):
    monkeypatch.setenv("SYSTEM", "spaces")
    monkeypatch.setenv("SPACE_ID", "somebody/palm-demo")
    page.mcp_server_obj = GradioMCPServer(page)
    insides = gradio_insides.Insides(page)
    assert insides.tool("palm_demo_shout") is insides.named("shout")
    assert [insides.tool(name) for name in ("shout", ["shout"], None)] == [None] * 3


def test_components_that_take_files_are_known_by_their_models(page):
    insides = gradio_insides.Insides(page)
    event = insides.event(0)
    assert insides._file_inputs[0] == [False, True, True, True]
    assert not insides.has_text_for_files(event, ["/etc/passwd", None, [], {"text": "", "files": []}])
    for place in (1, 2, 3):
        data = ["words", None, None, None]
        data[place] = "/etc/passwd"
        assert insides.has_text_for_files(event, data)


def test_the_queue_knows_the_session_of_an_event(page):
    insides = gradio_insides.Insides(page)
    queue = page._queue
    queue.pending_event_ids_session["mine"] = {"ended"}
    queue.pending_messages_per_session["mine"] = object()
    assert insides.session_of("ended") == "mine" and insides.session_of("unknown") is None
    assert insides.listens("mine") and not insides.listens("yours")
    assert "event_ids_to_events" in inspect.getsource(type(queue).push)


def test_gradios_client_for_mcp_is_made_where_it_is_asked_for():
    assert parameters(GradioMCPServer._get_or_create_client) == ["self"]
    assert "self._get_or_create_client" in inspect.getsource(GradioMCPServer.create_mcp_server)
    from gradio_client.client import Endpoint

    assert parameters(Endpoint._upload_file) == ["self", "f", "data_index"]
    assert "self._upload_file" in inspect.getsource(Endpoint.process_input_files)
