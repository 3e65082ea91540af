"""Changes to the gallery by visitors: they add pictures, remove their own, and download pictures."""

from __future__ import annotations

import html
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from palm_demo.errors import GalleryError, MediaError, PalmDemoError
from palm_demo.gallery import Report, ingest_pictures
from palm_demo.gallery.maintenance import export_zip
from palm_demo.internals.gradio_files import new_folder
from palm_demo.session import Session
from palm_demo.settings import GalleryRules, Limits
from palm_demo.ui.boundary.visitors import owner_of
from palm_demo.ui.components import picture_files
from palm_demo.ui.mammut.wall import Listed, Wall
from palm_demo.ui.messages import on_page
from palm_demo.ui.streaming import Stops, Stream, StreamingTab, run_and_stop

CLOSED = (
    "the owner of this page keeps the gallery as it is (visitors under gallery in the Spacefile); on your "
    "own machine, add pictures with: python -m palm_demo gallery add FOLDER"
)


@dataclass(frozen=True)
class Upload:
    """An uploaded picture, as a source for `ingest_pictures`.

    Attributes:
        name: the name that it was uploaded with.
        file: where it is.
    """

    name: str
    file: Path

    @property
    def path(self) -> None:
        """None, so that the gallery stores the bytes, because uploads are deleted after a while."""
        return None

    def read(self) -> bytes:
        """The content of the file. Raises MediaError if it was deleted."""
        try:
            return self.file.read_bytes()
        except OSError as error:
            raise MediaError(f"{self.name} is no longer there; upload it again") from error


class Contributions:
    """Adds and removes pictures for visitors, and remembers who has added which until they leave."""

    def __init__(self, session: Session, limits: Limits, rules: GalleryRules):
        self.session, self.limits, self.rules = session, limits, rules
        self._ids: dict[str, set[str]] = defaultdict(set)
        self._writing = threading.Lock()

    def add(self, visitor: str | None, files: Sequence[Path]) -> Iterator[Report]:
        """Adds files one by one. Yields the report before the first and after each.

        If this iterator is closed early, what was added stays.

        Args:
            visitor: None for a visitor who owns nothing, and cannot remove the pictures.
            files: pictures.

        Raises GalleryError if the page's owner does not allow it or the gallery is full, MediaError for no
        files and for too many.
        """
        self._check_open()
        if not files:
            raise MediaError("there are no pictures yet; choose one or more first")
        if len(files) > self.limits.media:
            raise MediaError(
                f"{len(files)} pictures came at once and at most {self.limits.media} can be added; "
                f"leave {len(files) - self.limits.media} for later"
            )
        self._check_room(len(files))
        report = Report()
        yield report
        for file in files:
            upload = Upload(Path(file).name, Path(file))
            try:
                report.extend(self._add(visitor, upload))
            except PalmDemoError as error:  # pictures before it stay in the report
                report.unreadable.append((upload.name, str(error)))
            yield report

    def _add(self, visitor: str | None, upload: Upload) -> Report:
        with self._writing:
            self._check_room(1)
            report = ingest_pictures(self.session.gallery, self.session.mammut, [upload])
            if visitor is not None:
                self._ids[visitor] |= set(report.added)
        return report

    def remove(self, visitor: str | None, ids: Sequence[str]) -> int:
        """Removes pictures that a visitor has added. Returns their number. Raises GalleryError for others."""
        self._check_open()
        own_ids = self._ids.get(visitor, set())
        if not ids or not own_ids.issuperset(ids):
            raise GalleryError("this picture is not one that you added; you can only remove those")
        with self._writing:
            removed = self.session.gallery.remove(ids)
        own_ids.difference_update(ids)
        return removed

    def leave(self, visitor: str) -> None:
        """Forgets which pictures a visitor has added. The pictures stay."""
        self._ids.pop(visitor, None)

    def _check_open(self) -> None:
        if not self.rules.visitors:
            raise GalleryError(CLOSED)

    def _check_room(self, wanted: int) -> None:
        count = len(self.session.gallery)
        if count + wanted > self.rules.pictures:
            raise GalleryError(
                f"the gallery has {count} pictures and may have {self.rules.pictures}; "
                "remove some of yours first"
            )


def download_of(session: Session, ids: Sequence[str]) -> Path:
    """Writes pictures into a ZIP file in the upload folder, where it is deleted after a while."""
    folder = new_folder()
    with session.turns.computation() as computation, computation.turn():
        export_zip(session.gallery, folder / "pictures.zip", ids)
    return folder / "pictures.zip"


TAB = "mammut-add"
OPEN = (
    "Every visitor of this page sees what you add, and the names of your files. You can remove your own "
    "pictures until you leave."
)


def contributing(
    session: Session,
    contributions: Contributions,
    stops: Stops,
    wall: Wall,
    picked: gr.State,
    computed: dict,
) -> None:
    """Builds the accordion inside the current Blocks.

    Args:
        session: has the gallery.
        contributions: of all visitors.
        stops: of the page's streams.
        wall: shows the changes.
        picked: the state with the picture that was clicked last.
        computed: options of its events.
    """
    allowed = contributions.rules.visitors
    with gr.Accordion("Add, remove, download", open=False, elem_id="mammut-change"):
        gr.HTML(
            f"<p class='note'>{html.escape(OPEN if allowed else f'{CLOSED[0].upper()}{CLOSED[1:]}.')}</p>"
        )
        with gr.Row():
            with gr.Column(visible=allowed):
                files = picture_files(
                    f"Your pictures, up to {contributions.limits.media} at once", "mammut-files"
                )
                add, stop = run_and_stop(TAB, "Add to the gallery")
                report_box = gr.Textbox(
                    label="What was added",
                    lines=2,
                    max_lines=10,
                    interactive=False,
                    elem_id="mammut-told",
                )
                remove = gr.Button("Remove the picture I clicked", elem_id="mammut-remove")
            with gr.Column():
                pack = gr.Button("Pack the pictures shown above", elem_id="mammut-pack")
                packed = gr.File(label="Download", interactive=False, height=140, elem_id="mammut-packed")

    def text_of(report: Report, notice: str | None = None) -> str:
        return report_text(report, session.gallery.names([id for _, id in report.near]), notice)

    def on_add(request: gr.Request, stopped: Stream, files: list[dict] | None):
        paths = [file["path"] for file in files or []]
        for done, report in enumerate(contributions.add(owner_of(request), paths)):
            if done == len(paths):
                yield text_of(report), None, *wall.with_new(report.added)
                return
            if stopped.is_set():
                notice = f"Stopped after {done} of {len(paths)}; add them again to go on."
                yield text_of(report, notice), gr.skip(), *wall.with_new(report.added)
                return
            notice = f"Looking at {Path(paths[done]).name}, {done + 1} of {len(paths)} …"
            yield text_of(report, notice), gr.skip(), *wall.unchanged

    @on_page
    def on_remove(request: gr.Request, item: Listed | None, items: list[Listed]):
        if item is None:
            raise GalleryError("no picture was clicked yet; search for yours and click it")
        contributions.remove(owner_of(request), [item.id])
        return f"Removed: {item.name}, “{item.caption}”.", None, *wall.without(item.id, items)

    @on_page
    def on_pack(items: list[Listed]):
        return str(download_of(session, [item.id for item in items]))

    one_at_a_time = {"concurrency_id": TAB, "concurrency_limit": 1, "preprocess": False}
    outputs = [report_box, files, *wall.outputs]
    StreamingTab(TAB, stops, [add], [stop]).wire(add.click, on_add, files, outputs, **one_at_a_time)
    remove.click(on_remove, [picked, wall.found], [report_box, picked, *wall.outputs], **computed)
    pack.click(on_pack, wall.found, packed, **computed)


def report_text(report: Report, names: Mapping[str, str] = {}, notice: str | None = None) -> str:
    """A report as text, with a line for each picture that was not added.

    Args:
        report: of `ingest_pictures`.
        names: id -> name of the pictures that others look like.
        notice: a line to put before it.
    """
    lines = [] if notice is None else [notice]
    lines += [f"{len(report.added)} added."]
    lines += [f"{name} is in the gallery already." for name in report.known]
    lines += [f"{name} looks like {names.get(id, 'one')}, which is there." for name, id in report.near]
    lines += [f"{why}." for _, why in report.unreadable]
    return "\n".join(lines)
