"""The page: a header, what is loaded, three tabs, the endpoints."""

import html
import importlib.util
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import gradio as gr
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from palm_demo.errors import MissingExtraError, PalmDemoError
from palm_demo.installation import pip_install
from palm_demo.internals.gradio_files import upload_folder
from palm_demo.session import Session
from palm_demo.settings import ServeOptions, Settings
from palm_demo.ui import flamingo, mammut, palm
from palm_demo.ui.api import add_endpoints, add_gallery_endpoints
from palm_demo.ui.boundary import guarded
from palm_demo.ui.boundary.answers import PathsHidden
from palm_demo.ui.boundary.files import Files
from palm_demo.ui.boundary.gradio_insides import GuardedBlocks, keep_little_of_a_session, served_behind
from palm_demo.ui.boundary.patience import Listeners
from palm_demo.ui.boundary.shares import UploadShares
from palm_demo.ui.components import sources
from palm_demo.ui.deep_links import SettingsLinks
from palm_demo.ui.mammut.contributing import Contributions
from palm_demo.ui.messages import sentence
from palm_demo.ui.streaming import Stops
from palm_demo.ui.theme import CSS, theme

CACHE_SECONDS = 3600
"""How often visitors' files are looked through, and how old they get."""


def build(
    session: Session, settings: Settings, folder: Path, fell_back: PalmDemoError | None = None
) -> GuardedBlocks:
    """The page of a session. The files of the examples go into the folder, which must outlive it.
    fell_back: why other weights are not there, which a banner tells."""
    keep_little_of_a_session()
    limits, stops, links = settings.limits, Stops(), SettingsLinks()
    contributions = Contributions(session, limits, settings.gallery)
    with GuardedBlocks(
        title=settings.space.title, analytics_enabled=False, delete_cache=(CACHE_SECONDS, CACHE_SECONDS)
    ) as page:
        gr.HTML(_header(settings.space.title, session), elem_id="header")
        if fell_back is not None:
            gr.HTML(_banner(fell_back), elem_id="fell-back")
        with gr.Accordion("What is this?", open=True, elem_id="about"):
            gr.HTML(_cards(session.about))
        with gr.Tabs():
            with gr.Tab("Flamingo", id="flamingo"):
                gr.HTML(sources(flamingo.PAPER, flamingo.CODE, settings.space.repository))
                flamingo.flamingo_tab(session, limits, stops, links, folder)
            with gr.Tab("MaMMUT", id="mammut"):
                gr.HTML(sources(mammut.PAPER, mammut.CODE, settings.space.repository))
                mammut.mammut_tab(session, limits, contributions, stops, links)
            with gr.Tab("PaLM", id="palm"):
                gr.HTML(sources(palm.PAPER, palm.CODE, settings.space.repository))
                user_adapters = palm.palm_tab(session, limits, stops, links)
        add_endpoints(session, limits)
        add_gallery_endpoints(session, limits, contributions)

        def leave(request: gr.Request) -> None:
            stops.leave(request.session_hash)
            user_adapters.leave(request.session_hash)
            contributions.leave(request.session_hash)

        page.unload(leave)
        links.open_with(page)
    page.max_threads = limits.threads
    page.listeners = Listeners()
    page.files = Files(upload_folder(), limits.upload_bytes)
    page.shares = UploadShares(limits, page.files.folder)
    return page.queue(max_size=limits.threads, api_open=False)


def launch(page: GuardedBlocks, settings: Settings, **options):
    """Serves the page; options go on to gradio's `launch`, whose return value comes back."""
    options = {"server_port": ServeOptions.read().port} | options  # the address Gradio reads itself
    served = _served(page, settings)
    with served_behind(partial(guarded, page, settings.limits)):
        return page.launch(share=False, max_threads=page.max_threads, **served, **options)


def mount(page: GuardedBlocks, settings: Settings, host: str) -> ASGIApp:
    """The page as an application for a server that is not Gradio's own. host: where that listens."""
    bare = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app = gr.mount_gradio_app(bare, page, path="/", **_served(page, settings))
    return guarded(page, settings.limits, app, host, started=True)


def _served(page: GuardedBlocks, settings: Settings) -> dict:
    """How the page is served, by whatever server."""
    limits = settings.limits
    return {
        "theme": theme(),
        "css": CSS,
        "ssr_mode": False,
        "show_error": False,
        "mcp_server": _wants_mcp(),
        "enable_monitoring": False,
        "run_history": False,
        "footer_links": ["api", "gradio"],
        "max_file_size": limits.upload_bytes,
        "app_kwargs": {
            "docs_url": None,
            "redoc_url": None,
            "openapi_url": None,
            "routes": [Route("/healthz", _healthz)],
            "middleware": [Middleware(PathsHidden, files=page.files)],
        },
    }


def _wants_mcp() -> bool:
    """Whether the options of `serve` ask for an MCP server, without which Gradio would go on in silence."""
    wanted = ServeOptions.read().mcp
    if wanted and importlib.util.find_spec("mcp") is None:
        raise MissingExtraError(f"PALM_DEMO_MCP is 1 but mcp is not installed; {pip_install('mcp')}")
    return wanted


async def _healthz(request) -> PlainTextResponse:
    return PlainTextResponse("ok")


def _header(title: str, session: Session) -> str:
    what = " on one decoder, with small weights that this project trained itself"
    if not session.bundled:
        what = f", here as {', '.join(part['name'] for part in session.about.values())}"
    return (
        f"<h1>{html.escape(title)}</h1>"
        f"<p>Three model families{html.escape(what)}. Nothing is sent to any other service.</p>"
    )


def _banner(why: PalmDemoError) -> str:
    return (
        "<div class='banner' role='status'><p><b>These are the small bundled weights.</b> Those that this "
        f"page was asked for could not be loaded. {html.escape(sentence(str(why)))}</p></div>"
    )


def _cards(about: Mapping[str, Mapping]) -> str:
    cards = (
        f"<div class='card'><h2>{html.escape(part['name'])}</h2>"
        f"<p class='size'>{part['parameters'] / 1e6:.1f} million parameters</p>"
        f"<p><b>Trained on</b> {html.escape(part['trained_on'])}.</p>"
        f"<p><b>Knows</b> {html.escape(part['knows'])}.</p>"
        f"<p><b>Licence</b> {html.escape(part['licence'])}.</p></div>"
        for part in (about[key] for key in ("flamingo", "mammut", "palm"))
    )
    return f"<div class='cards'>{''.join(cards)}</div>"
