"""The MCP server, asked by the `mcp` package's own client."""

import asyncio
import importlib.util
import re
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from palm_demo.errors import MissingExtraError
from tests.ports import free_port


@pytest.fixture(scope="module")
def ask(address, session, settings, tmp_path_factory) -> Iterator[Callable]:
    """Runs questions to a client of a page that was started with PALM_DEMO_MCP=1."""
    from palm_demo.ui import page

    blocks = page.build(session, settings, tmp_path_factory.mktemp("mcp"))
    place = {"server_name": "127.0.0.1", "server_port": free_port()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PALM_DEMO_MCP", "1")
        _, url, _ = page.launch(blocks, settings, **place, prevent_thread_lock=True, quiet=True)

    async def asked(question: Callable[[ClientSession], Awaitable]):
        connection = streamable_http_client(f"{url}gradio_api/mcp/")
        async with connection as (read, write, _), ClientSession(read, write) as client:
            await client.initialize()
            return await question(client)

    # In a thread of its own: the browser of other tests keeps an event loop running in this one.
    with ThreadPoolExecutor(1) as executor:
        yield lambda question: executor.submit(asyncio.run, asked(question)).result()
    blocks.close(verbose=False)


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


def test_without_the_extra_the_page_says_what_to_install(address, monkeypatch, settings):
    import gradio as gr

    from palm_demo.ui import page

    monkeypatch.setenv("PALM_DEMO_MCP", "1")
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mcp" else real(name))
    with pytest.raises(MissingExtraError, match=re.escape('pip install -e ".[mcp]"')):
        page.launch(gr.Blocks(), settings)
