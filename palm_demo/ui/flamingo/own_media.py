"""A component for a visitor's pictures and videos: chosen, dropped, pasted, from the camera, or drawn."""

from collections.abc import Sequence
from pathlib import Path

import gradio as gr

from palm_demo.errors import MediaError
from palm_demo.internals.gradio_files import file_data

SCRIPT = Path(__file__).with_suffix(".js")
RECORDED_SECONDS = 8
"""The length of a recorded video. Flamingo would see no more frames of a longer one."""

NEXT = "Now press a question below, or write your own and press Ask."
"""What is said once there is a file."""

INKS = (
    ("black", "#1e293b"),
    ("white", "#ffffff"),
    ("gray", "#94a3b8"),
    ("red", "#dc2626"),
    ("orange", "#f97316"),
    ("yellow", "#facc15"),
    ("green", "#16a34a"),
    ("blue", "#2563eb"),
    ("purple", "#9333ea"),
    ("pink", "#f472b6"),
    ("brown", "#92400e"),
)
"""Colours of the drawing pad: the ten backgrounds of the picture world, and one more for things."""

TEMPLATE = """
<ul data-part="kept" aria-label="Your pictures and videos" hidden></ul>
<div class="ways">
  <input data-part="input" type="file" accept="image/*,video/*" multiple hidden aria-label="Choose files">
  <button type="button" data-part="choose">Add a picture or video</button>
  <button type="button" data-part="open-camera">Camera</button>
  <button type="button" data-part="open-pad">Draw one</button>
  <span class="with-mouse">or drop it here</span>
</div>
<p data-part="said" role="status"></p>
<div data-part="camera" role="group" aria-label="Camera" hidden>
  <video data-part="live" muted playsinline aria-label="What the camera sees"></video>
  <div class="ways">
    <button type="button" data-part="photo">Take a photo</button>
    <button type="button" data-part="record">Record a video</button>
    <button type="button" data-part="close-camera">Close</button>
  </div>
</div>
<div data-part="pad" role="group" aria-label="Drawing pad" hidden>
  <canvas data-part="canvas" width="384" height="384" aria-label="Draw here"></canvas>
  <div class="inks" data-part="colours" role="group" aria-label="Colours"></div>
  <div class="ways">
    <label>Pen <input data-part="width" type="range" min="2" max="60" value="14"></label>
    <button type="button" data-part="fill">Fill the background</button>
    <button type="button" data-part="undo">Undo</button>
    <button type="button" data-part="clear">Clear</button>
    <button type="button" data-part="use" class="main">Use this drawing</button>
  </div>
</div>
"""


def own_media(elem_id: str, around: str, ask: str) -> gr.HTML:
    """The component. Its value is a list of files.

    Args:
        elem_id: of the component.
        around: the elem_id of a block on which files can be dropped and pasted.
        ask: the elem_id of the button that asks about them. Once a file is there, the page is scrolled until
            this button is seen too.
    """
    return gr.HTML(
        [],
        html_template=TEMPLATE,
        js_on_load=SCRIPT.read_text(encoding="utf-8"),
        apply_default_css=False,
        around=around,
        ask=ask,
        next=NEXT,
        seconds=RECORDED_SECONDS,
        refused=[],
        inks=[list(ink) for ink in INKS],
        elem_id=elem_id,
        elem_classes="own-media",
    )


def without(refused: Sequence[str]) -> dict:
    """The update of such a component from which some files are gone. Those that came meanwhile stay."""
    return gr.update(refused=list(refused))


def paths_of(value: object) -> list[str]:
    """The paths of the files in such a component. Raises MediaError for any other value."""
    files = value or []
    if not isinstance(files, list) or not all(isinstance(file, dict) and "path" in file for file in files):
        raise MediaError("what was sent is not a list of files; add pictures and videos on the page")
    return [file["path"] for file in files]


def value_of(paths: Sequence[str | Path]) -> list[dict]:
    """The component's value that shows files of the page."""
    return [file_data(path) | {"orig_name": Path(path).name} for path in paths]
