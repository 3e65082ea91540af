"""The loading page: a progress bar that is served while the weights load, until the page replaces it."""

import html
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse
from starlette.routing import Route

from palm_demo.internals.http_protocol import PatientProtocol
from palm_demo.profiles import Step
from palm_demo.settings import ServeOptions
from palm_demo.ui.boundary.listening import bind, no_port
from palm_demo.ui.boundary.network import Network
from palm_demo.ui.boundary.responses import PublicApp

FIRST_PORT, PORTS = 7860, 100
"""The range of ports that is searched for a free one if none is named, as Gradio does."""

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>TITLE</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<noscript><meta http-equiv="refresh" content="5"></noscript>
<style>
  :root { color-scheme: light dark; }
  body { margin: 0; font: 1rem/1.5 "IBM Plex Sans", system-ui, sans-serif; background: #f8fafc;
         color: #1e293b; }
  main { max-width: 34rem; margin: 18vh auto 0; padding: 0 1rem; }
  h1 { font-size: 1.5rem; }
  progress { width: 100%; height: 0.8rem; accent-color: #0f766e; }
  #what { overflow-wrap: anywhere; }
  @media (prefers-color-scheme: dark) { body { background: #020617; color: #e2e8f0; } }
</style></head><body><main>
<h1>TITLE</h1>
<p>The weights of the models are being loaded. This page opens by itself when they are there; the first time
that takes minutes, for they are downloaded.</p>
<progress id="bar" max="100" aria-label="How much is loaded"></progress>
<p id="what" role="status">WHAT</p>
</main><script>
const bar = document.getElementById("bar"), what = document.getElementById("what");
async function look() {
  try {
    const answer = await fetch("progress", {cache: "no-store"});
    const told = (answer.headers.get("content-type") ?? "").includes("json");
    if (answer.status === 404 || (answer.ok && !told)) { location.reload(); return; }  // the page itself
    const step = await answer.json();
    if (step.part === null) bar.removeAttribute("value"); else bar.value = 100 * step.part;
    const said = step.part === null ? step.what : `${step.what}: ${Math.floor(100 * step.part)} %`;
    if (what.textContent !== said) what.textContent = said;
  } catch {}  // no server runs between the end of this page and the start of the next
  setTimeout(look, 1000);
}
look();
</script></body></html>"""


class LoadingPage:
    """The loading page.

    Attributes:
        title: of the page that is loading.
        port: where it is served, and where the page must be launched.
    """

    def __init__(self, title: str, port: int):
        self.title, self.port = title, port
        self._step = Step("Beginning")

    def on_progress(self, step: Step) -> None:
        """Shows a step of the loading."""
        self._step = step

    async def page(self, request: Request) -> HTMLResponse:
        """Responds with the HTML."""
        words = {"TITLE": self.title, "WHAT": self._step.what}
        shown = PAGE
        for name, value in words.items():
            shown = shown.replace(name, html.escape(value))
        return HTMLResponse(shown, headers={"Cache-Control": "no-store"})

    async def progress(self, request: Request) -> JSONResponse:
        """Responds with the current step."""
        return JSONResponse({"what": self._step.what, "part": self._step.part})


async def _healthz(request: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")


async def _not_yet(request: Request, error: Exception) -> PlainTextResponse:
    return PlainTextResponse("The page is being loaded.", 503, {"Retry-After": "10"})


@contextmanager
def opening(title: str, host: str | None = None, port: int | None = None) -> Iterator[LoadingPage]:
    """Serves the loading page within the `with`.

    Args:
        title: of the page that is loading.
        host, port: where to serve it; by default those of `ServeOptions`.

    Raises ServingError if no port is free, or the host is no address of this machine.
    """
    options = ServeOptions.read()
    host = host or options.host
    listening = _listen(host, port or options.port)
    page = LoadingPage(title, listening.getsockname()[1])
    routes = [
        Route("/", page.page),
        Route("/progress", page.progress),
        Route("/healthz", _healthz),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _not_yet})
    config = uvicorn.Config(
        PublicApp(app, Network.of(host)),
        http=PatientProtocol,
        ws="none",
        log_level="warning",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), name="loading page", daemon=True)
    thread.start()
    try:
        yield page
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def _listen(host: str, port: int | None) -> socket.socket:
    """A socket that listens on a port, or on the first free one."""
    ports = [port] if port else range(FIRST_PORT, FIRST_PORT + PORTS)
    for tried in ports:
        if (listening := bind(host, tried)) is None:
            continue
        try:
            listening.listen()  # before this, another process could bind the same port
            return listening
        except OSError:
            listening.close()
    raise no_port(host, ports)
