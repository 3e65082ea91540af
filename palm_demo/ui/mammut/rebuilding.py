"""The line in place of a gallery that cannot be searched, and the button that rebuilds it."""

import html
import re
from collections.abc import Sequence

import gradio as gr
from gradio.components import Component

from palm_demo.errors import GalleryError, OtherWeightsError
from palm_demo.gallery import Report
from palm_demo.gallery.maintenance import outdated, rebuild
from palm_demo.installation import COMMAND
from palm_demo.session import Session
from palm_demo.ui.boundary.visitors import is_local
from palm_demo.ui.mammut.wall import Wall
from palm_demo.ui.messages import sentence
from palm_demo.ui.streaming import Stops, Stream, StreamingTab, run_and_stop

TAB = "mammut-rebuild"
WORKS = "Captions and labels work without it."
OTHER_WEIGHTS = (
    "Search is off: other weights made this gallery, and its pictures have to be prepared again for these. "
)
OWNERS = f"Press the button once, or run `{COMMAND} gallery rebuild`."
VISITORS = f"Whoever runs this page can do it with `{COMMAND} gallery rebuild`."


def rebuilding(session: Session, stops: Stops, wall: Wall, searching: Sequence[Component]) -> None:
    """Builds the line and the button inside the current Blocks, for a gallery that cannot be searched when
    the page is built.

    Args:
        session: has the gallery.
        stops: of the page's streams.
        wall: shows the gallery once it is rebuilt.
        searching: what is hidden until then.
    """
    line = gr.HTML(_line(why_closed(session), owner=False), elem_id="mammut-closed")
    with gr.Row(visible=False) as row:
        run, stop = run_and_stop(TAB, "Rebuild it")
    outputs = [line, row, *searching, *wall.outputs]

    def closed(text: str, owner: bool) -> list:
        return [_paragraph(text), gr.update(visible=owner), *[gr.skip()] * len(searching), *wall.unchanged]

    def opened(text: str) -> list:
        shown = [gr.update(visible=True)] * len(searching)
        return [_paragraph(text), gr.update(visible=False), *shown, *wall.others()]

    def on_load(request: gr.Request):
        error = why_closed(session)
        if error is None:
            return opened("")
        owner = is_local(request) and isinstance(error, OtherWeightsError)
        return [_line(error, owner), *closed("", owner)[1:]]

    def on_rebuild(request: gr.Request, stopped: Stream):
        if not is_local(request):
            raise GalleryError(
                f"only whoever runs this page can rebuild its gallery, with `{COMMAND} gallery rebuild`"
            )
        report, done = Report(), 0
        count = outdated(session.gallery_place, session.mammut.fingerprint)
        yield closed(f"0 of {count} pictures …", owner=True)
        for some in rebuild(session.gallery_place, session.mammut, report):
            done += some
            if stopped.is_set():
                yield closed(f"Stopped after {done} of {count}; press again to go on.", owner=True)
                return
            yield closed(f"{done} of {count} pictures …", owner=True)
        yield opened(how_it_went(done, report))

    tab = StreamingTab(TAB, stops, [run], [stop])
    one_at_a_time = {"concurrency_id": TAB, "concurrency_limit": 1}
    tab.wire(run.click, on_rebuild, [], outputs, **one_at_a_time)
    gr.on(None, on_load, None, outputs, show_progress="hidden", api_visibility="private")


def why_closed(session: Session) -> GalleryError | None:
    """The error for which the gallery cannot be searched; None if it can."""
    try:
        _ = session.gallery
    except GalleryError as error:
        return error
    return None


def how_it_went(done: int, report: Report) -> str:
    """The message after a rebuild, with a line for each picture that was left out."""
    lines = [f"Rebuilt: {done - len(report.unreadable)} pictures can be searched."]
    return "\n".join([*lines, *(f"{name} was left out: {why}." for name, why in report.unreadable)])


def _line(error: GalleryError | None, owner: bool) -> str:
    if error is None:
        return ""
    if isinstance(error, OtherWeightsError):
        return _paragraph(f"{OTHER_WEIGHTS}{WORKS} {OWNERS if owner else VISITORS}")
    return _paragraph(f"There is no search: {sentence(str(error))} {WORKS}")


def _paragraph(text: str) -> str:
    """HTML of the line. Lines of the text stay lines, and what is in backquotes is code."""
    shown = re.sub("`(.+?)`", r"<code>\1</code>", html.escape(text))
    return f"<p class='note' role='status'>{shown}</p>" if text else ""
