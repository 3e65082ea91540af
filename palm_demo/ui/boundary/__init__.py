"""The trust boundary: one guard that every request to the page passes, by whatever road it comes."""

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
    """The guard before a page's application, which is served at a host."""
    fetch_nothing()
    leave_files_where_they_are(page)
    leave_no_half_uploads()
    insides = Insides(page)
    insides.share(page.files)
    return Guard(app, insides, page.files, limits, Network.of(host), started)
