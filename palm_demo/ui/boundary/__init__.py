"""The trust boundary: a guard that checks every request to the page, its API and its MCP server."""

from starlette.types import ASGIApp

from palm_demo.settings import Limits
from palm_demo.ui.boundary.gradio_insides import (
    GuardedBlocks,
    Insides,
    fetch_nothing,
    leave_files_where_they_are,
    leave_no_half_uploads,
)
from palm_demo.ui.boundary.guard import Guard
from palm_demo.ui.boundary.network import Network


def guarded(page: GuardedBlocks, limits: Limits, app: ASGIApp, host: str, started: bool = False) -> Guard:
    """The guard in front of a page's application.

    Also changes Gradio so that it downloads nothing, and leaves no parts of failed uploads.

    Args:
        page: the page that the application serves, with its files and upload quotas set.
        limits: on uploads.
        app: Gradio's application.
        host: the address that the server listens on.
        started: whether the page's startup events have run.
    """
    fetch_nothing()
    leave_files_where_they_are(page)
    leave_no_half_uploads()
    insides = Insides(page)
    insides.share(page.files)
    return Guard(app, insides, page.files, limits, Network.of(host), started)
