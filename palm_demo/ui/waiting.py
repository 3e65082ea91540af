"""The line of a busy model, shown to who stands in it."""

import gradio as gr

from palm_demo.generation import Waiting


def line_shown(tab: str) -> gr.HTML:
    """Where the place stands while there is one."""
    return gr.HTML(visible="hidden", elem_id=f"{tab}-line", elem_classes="line")


def in_line(delta: str):
    """The update of `line_shown` that goes with a delta of a text."""
    if not isinstance(delta, Waiting):
        return gr.update(value="", visible="hidden")
    ahead = "Yours is next" if delta.place == 1 else f"{delta.place - 1} more before yours"
    return gr.update(value=f"Place {delta.place} in line. {ahead}; it begins by itself.", visible=True)
