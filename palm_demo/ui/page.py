"""The page: a header, three tabs, and the API endpoints."""

import html
import importlib.util
from functools import partial
from pathlib import Path

import gradio as gr
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from palm_demo.errors import MissingExtraError, PalmDemoError
from palm_demo.installation import pip_install
from palm_demo.internals.gradio_files import upload_folder
from palm_demo.internals.gradio_page import late_core, send_little
from palm_demo.internals.gradio_sessions import use_small_sessions
from palm_demo.session import Session
from palm_demo.settings import ServeOptions, Settings
from palm_demo.ui import flamingo, mammut, palm, press_feedback, preview
from palm_demo.ui.api import add_endpoints
from palm_demo.ui.boundary import guarded
from palm_demo.ui.boundary.fair_memory import FairMemory
from palm_demo.ui.boundary.files import Files
from palm_demo.ui.boundary.gradio_insides import (
    FORGOTTEN_AT_ONCE,
    STATES,
    UNASKED,
    GuardedBlocks,
    served_behind,
)
from palm_demo.ui.boundary.guard import CARD
from palm_demo.ui.boundary.responses import HidePaths
from palm_demo.ui.boundary.timeouts import Listeners
from palm_demo.ui.boundary.upload_quotas import UploadQuotas
from palm_demo.ui.components import sources
from palm_demo.ui.deep_links import SettingsLinks
from palm_demo.ui.gallery_api import add_gallery_endpoints
from palm_demo.ui.mammut.contributing import Contributions
from palm_demo.ui.messages import sentence
from palm_demo.ui.photographs import credits
from palm_demo.ui.streaming import Stops
from palm_demo.ui.theme import css, theme

FILLED_BY = (
    flamingo.FILLED_BY
    | palm.FILLED_BY
    | {
        "mammut-describe": "mammut-said",
        "mammut-photos": "mammut-said",
        "mammut-gallery": "mammut-picture",
        "mammut-search": "mammut-gallery",
        "mammut-words": "mammut-gallery",
        "mammut-examples": "mammut-gallery",
        "mammut-similar": "mammut-gallery",
        "mammut-both": "mammut-gallery",
        "mammut-classify": "mammut-bars",
        "mammut-compare-run": "mammut-matrix",
    }
)
"""elem_id of a button -> elem_id of the component that it fills."""

CACHE_SECONDS = 3600
"""The age at which visitors' files are deleted, and the interval of the check."""


def build(
    session: Session, settings: Settings, folder: Path, fell_back: PalmDemoError | None = None
) -> GuardedBlocks:
    """The page of a session.

    Args:
        session: answers the visitors.
        settings: from the Spacefile.
        folder: for the files of examples. It must exist as long as the page.
        fell_back: the error that kept the profile's weights from loading. It is shown in a banner.
    """
    use_small_sessions()
    send_little()
    limits, stops, links = settings.limits, Stops(), SettingsLinks()
    contributions = Contributions(session, limits, settings.gallery)
    with GuardedBlocks(
        title=settings.space.title, analytics_enabled=False, delete_cache=(CACHE_SECONDS, CACHE_SECONDS)
    ) as page:
        gr.HTML(_header(settings, session), elem_id="header", apply_default_css=False)
        if fell_back is not None:
            gr.HTML(_banner(fell_back), elem_id="fell-back")
        with gr.Tabs(elem_id="models", overflow_behavior="wrap"):
            with gr.Tab("Ask Flamingo", id="flamingo"):
                asked_media = flamingo.flamingo_tab(session, limits, stops, links, folder)
                gr.HTML(sources(flamingo.PAPER, flamingo.CODE, settings.space.repository))
            with gr.Tab("Describe & find with MaMMUT", id="mammut"):
                mammut.mammut_tab(session, limits, contributions, stops, links, folder)
                gr.HTML(sources(mammut.PAPER, mammut.CODE, settings.space.repository))
            with gr.Tab("Write with PaLM", id="palm"):
                user_adapters = palm.palm_tab(session, limits, stops, links)
                gr.HTML(sources(palm.PAPER, palm.CODE, settings.space.repository))
        add_endpoints(session, limits)
        add_gallery_endpoints(session, limits, contributions)

        def leave(request: gr.Request) -> None:
            stops.leave(request.session_hash)
            asked_media.leave(request.session_hash)
            user_adapters.leave(request.session_hash)
            contributions.leave(request.session_hash)

        page.unload(leave)
        links.open_with(page)
    page.max_threads = limits.threads
    page.listeners = Listeners()
    page.sessions = FairMemory(STATES, FORGOTTEN_AT_ONCE)
    page.files = Files(upload_folder(), limits.upload_bytes)
    page.upload_quotas = UploadQuotas(limits, page.files.folder)
    page.dress = partial(preview.dressed, space=settings.space)
    return page.queue(max_size=limits.threads, api_open=False)


def launch(page: GuardedBlocks, settings: Settings, **options):
    """Serves the page behind the guard. Takes the options of gradio's `launch`, and returns its value."""
    options = {"server_port": ServeOptions.read().port} | options  # Gradio reads the host by itself
    served = _serving_options(page, settings)
    with served_behind(partial(guarded, page, settings.limits)):
        return page.launch(share=False, max_threads=page.max_threads, **UNASKED, **served, **options)


def mount(page: GuardedBlocks, settings: Settings, host: str) -> ASGIApp:
    """The page behind the guard, as an ASGI application for another server than Gradio's.

    host: the address that the server listens on.
    """
    bare = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app = gr.mount_gradio_app(bare, page, path="/", **_serving_options(page, settings))
    return guarded(page, settings.limits, app, host, started=True)


def _serving_options(page: GuardedBlocks, settings: Settings) -> dict:
    """Gradio's options for serving the page, with any server."""
    limits = settings.limits
    core, script = late_core()
    return {
        "theme": theme(),
        "css": css(),
        "head": press_feedback.script(FILLED_BY),
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
            "routes": [
                Route("/healthz", _healthz),
                Route(f"/assets/{core}", partial(_script, text=script)),
                Route(CARD, partial(_card, picture=preview.draw_card(settings.space))),
            ],
            "middleware": [Middleware(HidePaths, files=page.files)],
        },
    }


def _wants_mcp() -> bool:
    """Whether the options ask for an MCP server.

    Raises MissingExtraError if it is not installed, because Gradio would say nothing.
    """
    wanted = ServeOptions.read().mcp
    if wanted and importlib.util.find_spec("mcp") is None:
        raise MissingExtraError(f"PALM_DEMO_MCP is 1 but mcp is not installed; {pip_install('mcp')}")
    return wanted


async def _healthz(request) -> PlainTextResponse:
    return PlainTextResponse("ok")


async def _script(request, text: str) -> Response:
    return Response(text, media_type="text/javascript")


async def _card(request, picture: bytes) -> Response:
    return Response(picture, media_type="image/png", headers={"Cache-Control": "public, max-age=3600"})


def _header(settings: Settings, session: Session) -> str:
    """HTML of the header: the title, a short description, and a button that shows more."""
    title, does = html.escape(settings.space.title), html.escape(settings.space.short_description)
    loaded = ""
    if not session.bundled:
        loaded = f" Loaded: {', '.join(html.escape(part['name']) for part in session.about.values())}."
    return (
        f"<div class='top'><h1>{title}</h1><p>{does}.{loaded}</p>"
        "<button type='button' popovertarget='about'>About this page</button></div>"
        f"<div id='about' popover role='dialog' aria-label='About this page'>{_about(session)}"
        "<button type='button' popovertarget='about' popovertargetaction='hide'>Close</button></div>"
    )


def _banner(why: PalmDemoError) -> str:
    return (
        "<div class='banner' role='status'><p><b>These are the small bundled weights.</b> Those that this "
        f"page was asked for could not be loaded. {html.escape(sentence(str(why)))}</p></div>"
    )


BUNDLED = (
    "<p>Three kinds of models, small enough for a laptop, trained by this project. <b>Flamingo</b> "
    "answers questions about pictures, <b>MaMMUT</b> finds and describes pictures, <b>PaLM</b> writes on. "
    "They know drawings of everyday things, what a thousand kinds of things look like in photographs, and "
    "how old novels sound. They do not know facts, sums or other languages than English.</p>"
)
PRIVACY = (
    "<p>What you type and show stays on this server, and is deleted after a while. Nothing is sent on.</p>"
)


def _about(session: Session) -> str:
    """HTML that tells which models are loaded, what they know and what they do not."""
    parts = (session.about[key] for key in ("flamingo", "mammut", "palm"))
    cards = (
        f"<div class='card'><h2>{html.escape(part['name'])}</h2>"
        f"<p class='size'>{part['parameters'] / 1e6:.1f} million parameters</p>"
        f"<p><b>Knows</b> {html.escape(part['knows'])}.</p>"
        f"<p><b>Trained on</b> {html.escape(part['trained_on'])}.</p>"
        f"<p><b>Licence</b> {html.escape(part['licence'])}.</p></div>"
        for part in parts
    )
    said = BUNDLED if session.bundled else ""
    whose = f"<p class='size'>Photographs among the examples: {html.escape(credits())}.</p>"
    return f"<h2>About this page</h2>{said}{PRIVACY}<div class='cards'>{''.join(cards)}</div>{whose}"
