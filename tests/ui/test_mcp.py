"""The MCP server, asked by the `mcp` package's own client."""

import asyncio
import base64
import importlib.util
import re
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from palm_demo.errors import MissingExtraError
from tests.ports import free_port


@pytest.fixture(scope="module")
def assisted(address, session, settings, tmp_path_factory) -> Iterator[str]:
    """The address of a page that was started with PALM_DEMO_MCP=1."""
    from palm_demo.ui import page

    blocks = page.build(session, settings, tmp_path_factory.mktemp("mcp"))
    place = {"server_name": "127.0.0.1", "server_port": free_port()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PALM_DEMO_MCP", "1")
        _, url, _ = page.launch(blocks, settings, **place, prevent_thread_lock=True, quiet=True)
    yield url
    blocks.close(verbose=False)


@pytest.fixture(scope="module")
def ask(assisted) -> Iterator[Callable]:
    """Runs questions to a client of that page."""

    async def asked(question: Callable[[ClientSession], Awaitable]):
        connection = streamable_http_client(f"{assisted}gradio_api/mcp/")
        async with connection as (read, write, _), ClientSession(read, write) as client:
            await client.initialize()
            return await question(client)

    # In a thread of its own: the browser of other tests keeps an event loop running in this one.
    with ThreadPoolExecutor(1) as executor:
        yield lambda question: executor.submit(asyncio.run, asked(question)).result()


def test_every_named_endpoint_is_a_tool_that_says_what_it_does(ask, client):
    tools = {tool.name: tool for tool in ask(lambda mcp: mcp.list_tools()).tools}
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert {f"/{name}" for name in tools} == set(named)
    assert all(tool.description for tool in tools.values())
    assert "prompt" in tools["generate"].inputSchema["properties"]


def test_generate_writes_what_the_session_writes(ask, session):
    arguments = {"prompt": "The night was", "max_new_tokens": 8, "temperature": 0.0}
    answer = ask(lambda mcp: mcp.call_tool("generate", arguments))
    assert not answer.isError
    assert answer.content[0].text == session.generate(**arguments)


def test_a_bad_call_is_an_error_that_says_why(ask):
    answer = ask(lambda mcp: mcp.call_tool("generate", {"prompt": "x", "scope": "nobody"}))
    assert answer.isError and "nobody" in answer.content[0].text


def test_a_picture_is_taken_in_each_form_that_clients_send(ask, assisted, session, media):
    picture = (media / "blue.png").read_bytes()
    path = httpx.post(f"{assisted}gradio_api/upload", files={"files": ("blue.png", picture)}).json()[0]
    uri = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    address = f"{assisted}gradio_api/file={path}"
    said = session.caption(media / "blue.png")
    for image in (path, address, uri, {"url": address}, {"url": uri}, {"path": uri}):
        answer = ask(lambda mcp, image=image: mcp.call_tool("caption", {"image": image}))
        assert not answer.isError and answer.content[0].text == said
    arguments = {"prompt": "What colour is the background?", "media": [uri, path]}
    answer = ask(lambda mcp: mcp.call_tool("answer", arguments | {"max_new_tokens": 4}))
    assert not answer.isError


def test_a_search_takes_words_and_pictures(ask, session, media):
    uri = f"data:image/png;base64,{base64.b64encode((media / 'blue.png').read_bytes()).decode()}"
    for query, best in (("a fox", session.search("a fox", 1)), (uri, session.search(media / "blue.png", 1))):
        answer = ask(lambda mcp, query=query: mcp.call_tool("search", {"query": query, "k": 1}))
        assert best[0].id in answer.content[0].text


def test_what_is_refused_says_why_and_the_session_goes_on(ask, media):
    refused = {
        "https://example.com/cat.png": "fetches no links",
        "/etc/passwd": "upload it first",
        str(media / "blue.png"): "upload it first",
        "data:image/png;base64,@@@": "no base64",
        "data:text/html;base64,PGI+": "no picture",
        f"data:image/png;base64,{base64.b64encode(b'words').decode()}": "not a picture",
        f"data:image/png;base64,{'A' * 18_000_000}": "bytes and at most",
        f"data:image/png;base64,{'A' * 16_100_000}": "bytes and at most",
    }

    async def one_after_the_other(mcp: ClientSession) -> list:
        asked = [await mcp.call_tool("caption", {"image": image}) for image in refused]
        return [*asked, await mcp.call_tool("scopes", {})]

    *answers, scopes = ask(one_after_the_other)
    for answer, why in zip(answers, refused.values(), strict=True):
        assert answer.isError and why in answer.content[0].text
    assert not scopes.isError


def test_a_call_of_very_much_text_or_very_many_values_is_refused_before_it_is_looked_at(ask):
    long = {"prompt": "a" * 1_100_000}
    wide = {"prompt": "a", "stop": ["", ""] * 30_000}

    async def both(mcp: ClientSession) -> list:
        return [await mcp.call_tool("generate", arguments) for arguments in (long, wide)]

    for answer, why in zip(ask(both), ("bytes beside its files", "more than 50,000 values"), strict=True):
        assert answer.isError and why in answer.content[0].text


def test_every_parameter_of_a_tool_says_what_it_is(ask):
    for tool in ask(lambda mcp: mcp.list_tools()).tools:
        for name, about in tool.inputSchema["properties"].items():
            assert about["description"].endswith("."), (tool.name, name)


def test_a_picture_that_was_uploaded_is_described(ask, assisted, session, media):
    with (media / "blue.png").open("rb") as file:
        path = httpx.post(f"{assisted}gradio_api/upload", files={"files": file}).json()[0]
    for image in ({"path": path}, {"path": path, "meta": {"_type": "gradio.FileData"}}):
        answer = ask(lambda mcp, image=image: mcp.call_tool("caption", {"image": image}))
        assert not answer.isError and answer.content[0].text == session.caption(media / "blue.png")


def test_a_file_of_the_server_is_refused_with_a_reason(ask, media):
    image = {"path": str(media / "blue.png"), "meta": {"_type": "gradio.FileData"}}
    answer = ask(lambda mcp: mcp.call_tool("caption", {"image": image}))
    assert answer.isError and "upload it first" in answer.content[0].text


def test_what_a_tool_draws_can_be_fetched_by_who_called_it(ask, assisted):
    arguments = {"ids": []}
    found = ask(lambda mcp: mcp.call_tool("search", {"query": "a cat", "k": 1})).content[0].text
    arguments["ids"] = [re.search(r"'id': '([^']+)'", found)[1]]
    url = ask(lambda mcp: mcp.call_tool("gallery_export", arguments)).content[0].text
    assert httpx.get(url).content[:2] == b"PK"


def test_without_the_extra_the_page_says_what_to_install(address, monkeypatch, settings):
    import gradio as gr

    from palm_demo.ui import page

    monkeypatch.setenv("PALM_DEMO_MCP", "1")
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mcp" else real(name))
    with pytest.raises(MissingExtraError, match=re.escape('pip install -e ".[mcp]"')):
        page.launch(gr.Blocks(), settings)
