"""Errors as messages to a visitor. The only place that turns the one into the other."""

import errno
import html
import inspect
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path

import gradio as gr

from palm_demo.errors import PalmDemoError, places
from palm_demo.internals.gradio_files import upload_folder

logger = logging.getLogger(__name__)

OUR_FAULT = "Something went wrong on our side. Please try again; the rest of the page still works."
NO_ROOM = "The page cannot keep files now. Please try again later; what needs no file still works."
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES}
"""Errors of a disk that is full, or may not be written to."""
SECONDS = 20
PLACE = r"(?<![\w:/.…])/(?:[^\s/'\"]+/)+[^\s/'\",;)]*"
"""A path of two names or more that stands alone; not the end of an address."""


def on_page(handler: Callable) -> Callable:
    """An event handler, or a generator of updates, whose errors become a warning on the page.

    A warning leaves the outputs as they were; Gradio's own error lies over them until the next run.
    """

    @wraps(handler)
    def whole(*arguments):
        try:
            return handler(*arguments)
        except Exception as error:
            warn(_tell(error))
            return gr.skip()

    @wraps(handler)
    def streaming(*arguments):
        try:
            yield from handler(*arguments)
        except Exception as error:
            warn(_tell(error))
            yield gr.skip()

    return streaming if inspect.isgeneratorfunction(handler) else whole


@contextmanager
def in_api() -> Iterator[None]:
    """Errors become those of `gradio_client`, in plain text."""
    try:
        yield
    except Exception as error:
        raise gr.Error(_tell(error), print_exception=False) from error


def warn(message: str) -> None:
    """Shows whole sentences over the page. Needs an event that goes through the queue."""
    gr.Warning(html.escape(message), SECONDS)  # the page reads the text as HTML


def _tell(error: Exception) -> str:
    """What to say of any error."""
    if isinstance(error, PalmDemoError):
        return sentence(str(error))
    return unforeseen(error)


def is_without_room(error: BaseException | None) -> bool:
    """Whether an error, or what it came from, is that of a disk which takes no files."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK:
            return True
        error = error.__cause__ or error.__context__
    return False


def unforeseen(error: Exception) -> str:
    """What to say of an error that is not the visitor's; the log says where it was, not what."""
    if is_without_room(error):
        logger.error("a file cannot be kept")
        return NO_ROOM
    logger.error("unforeseen %s\n%s", type(error).__name__, places(error))
    return OUR_FAULT


def sentence(message: str) -> str:
    """With a capital and a full stop; a first word that is a name of a file or setting stays as it is. Of a
    place on this machine only its last name is said."""
    message = without_places(message)
    first = message.partition(" ")[0]
    return f"{first.capitalize() if first.isalpha() else first}{message[len(first) :]}."


def without_places(message: str) -> str:
    """A message in which paths of this machine are their last names: where things lie on it is no visitor's
    business."""
    known = {os.getcwd(), str(Path.home()), tempfile.gettempdir(), str(upload_folder())} - {"/"}
    roots = "|".join(re.escape(root) for root in sorted(known, key=len, reverse=True))
    return re.sub(rf"(?:{roots})(?:/[^\n/'\",;)]+)*|{PLACE}", lambda found: _last(found[0]), message)


def _last(path: str) -> str:
    head, _, name = path.rstrip("/").rpartition("/")
    after = name[len(name.rstrip()) :] if head else ""
    return f"…/{name.strip()}{after}"
