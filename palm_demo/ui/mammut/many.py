"""Describes many pictures: a table of captions, and a CSV file of it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import gradio as gr

from palm_demo.errors import MediaError, PalmDemoError
from palm_demo.internals.gradio_files import new_folder
from palm_demo.session import Session
from palm_demo.settings import Limits
from palm_demo.ui.components import picture_files
from palm_demo.ui.messages import sentence
from palm_demo.ui.streaming import Stops, Stream, StreamingTab, run_and_stop

TAB = "mammut-many"
MOST = 50
"""The most pictures at once. `palm-demo caption FOLDER --csv FILE` takes any number."""
COLUMNS = ["picture", "caption", "error"]


def describing_many(session: Session, limits: Limits, stops: Stops) -> None:
    """Builds the accordion inside the current Blocks."""
    with gr.Accordion("Many pictures, one table", open=False, elem_id="mammut-table"):
        files = picture_files(f"Pictures, up to {MOST} at once", f"{TAB}-files")
        run, stop = run_and_stop(TAB, "Describe them all")
        table = gr.Dataframe(
            headers=[name.capitalize() for name in COLUMNS],
            datatype="str",
            interactive=False,
            wrap=True,
            label="Captions",
            elem_id="mammut-captions",
        )
        packed = gr.File(label="Download", interactive=False, height=80, elem_id="mammut-csv")

    def on_many(request: gr.Request, stopped: Stream, files: list[dict] | None):
        paths, rows = check_many(files or []), []
        for path in paths:
            if stopped.is_set():
                break
            rows.append(described(session, path))
            yield rows, gr.skip()
        if rows:
            yield rows, str(as_csv(rows))

    tab = StreamingTab(TAB, stops, [run], [stop])
    tab.wire(run.click, on_many, [files], [table, packed], preprocess=False)


def check_many(files: Sequence[dict]) -> list[Path]:
    """The paths of files. Raises MediaError for none and for too many."""
    if not files:
        raise MediaError("there are no pictures yet; choose some first")
    if len(files) > MOST:
        raise MediaError(
            f"{len(files)} pictures came at once and at most {MOST} can be described; leave "
            f"{len(files) - MOST} for later"
        )
    return [Path(file["path"]) for file in files]


def described(session: Session, path: Path) -> list[str]:
    """The row of the table for a picture: its name, and its caption or the reason why it failed."""
    try:
        return [path.name, session.caption(path), ""]
    except PalmDemoError as error:
        return [path.name, "", sentence(str(error))]


def as_csv(rows: Sequence[Sequence[str]]) -> Path:
    """Writes the table to a CSV file in the upload folder, where it is deleted after a while."""
    path = new_folder() / "captions.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return path
