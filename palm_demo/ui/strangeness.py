"""A word of warning under what the models say about pictures they were not made for."""

from collections.abc import Sequence

import gradio as gr

from palm_demo.media import Medium
from palm_demo.session import STRANGE, Session

WARNING = (
    "{what} not look like anything these models were trained on: drawings of everyday things on a plain "
    "background. What they say about {it} means little."
)


def warning_shown(tab: str) -> gr.HTML:
    """Where the warning stands when there is one."""
    return gr.HTML(visible="hidden", elem_id=f"{tab}-strange", elem_classes="strange")


def no_warning():
    """The update of `warning_shown` while nothing is known yet."""
    return gr.update(value="", visible="hidden")


def warning_about(session: Session, media: Sequence[Medium]):
    """The update of `warning_shown` for these pictures and videos; none where familiarity is not known."""
    return warning_of([session.familiarity(medium) for medium in media])


def warning_of(familiarities: Sequence[float | None]):
    """The same for media whose familiarity has been asked for."""
    strange = sum(value is not None and value < STRANGE for value in familiarities)
    if not strange:
        return no_warning()
    does, it = ("does", "it") if strange == 1 else ("do", "them")
    what = f"This {does}" if len(familiarities) == 1 else f"{strange} of these {len(familiarities)} {does}"
    return gr.update(value=WARNING.format(what=what, it=it), visible=True)
