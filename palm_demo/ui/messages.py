"""Turns errors into messages for visitors. No other module does that."""

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
"""Error numbers of a disk that is full or cannot be written to."""
SECONDS = 20
"""How long a warning is shown."""
PATH = r"(?<![\w:/.…])/(?:[^\s/'\"]+/)+[^\s/'\",;)]*"
"""An absolute path of two or more names. The path of a URL does not match."""
WINDOWS_PATH = r"(?<!\w)[A-Za-z]:\\(?:[^\s\\'\"]+\\)+[^\s\\'\",;)]*"


def on_page(handler: Callable) -> Callable:
    """Decorates an event handler, which may be a generator: its errors become warnings on the page.

    A warning leaves the outputs as they are, whereas Gradio would show "Error" over them until the next run.
    """

    @wraps(handler)
    def unary(*arguments):
        try:
            return handler(*arguments)
        except Exception as error:
            warn(_message(error))
            return gr.skip()

    @wraps(handler)
    def streaming(*arguments):
        try:
            yield from handler(*arguments)
        except Exception as error:
            warn(_message(error))
            yield gr.skip()

    return streaming if inspect.isgeneratorfunction(handler) else unary


@contextmanager
def or_warn() -> Iterator[None]:
    """Errors become warnings on the page, and the event's `success` does not follow. It needs the queue."""
    try:
        yield
    except Exception as error:
        warn(_message(error))
        raise gr.Error(visible=False, print_exception=False) from error


@contextmanager
def in_api() -> Iterator[None]:
    """Turns errors into errors of `gradio_client`, with a message in plain text."""
    try:
        yield
    except Exception as error:
        raise gr.Error(_message(error), print_exception=False) from error


def warn(message: str) -> None:
    """Shows a warning over the page. Works only in events that go through the queue."""
    gr.Warning(html.escape(message), SECONDS)  # Gradio shows the text as HTML


def _message(error: Exception) -> str:
    """The message for an error of any kind."""
    if isinstance(error, PalmDemoError):
        return sentence(str(error))
    return unforeseen(error)


def is_without_room(error: BaseException | None) -> bool:
    """Whether an error was caused by a disk that cannot be written to."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK:
            return True
        error = error.__cause__ or error.__context__
    return False


def unforeseen(error: Exception) -> str:
    """The message for an error that is not the visitor's. Its kind and place are logged, not its text."""
    if is_without_room(error):
        logger.error("a file cannot be kept")
        return NO_ROOM
    logger.error("unforeseen %s\n%s", type(error).__name__, places(error))
    return OUR_FAULT


def sentence(message: str) -> str:
    """A message as a sentence, with a capital and a full stop, in which paths are hidden.

    A first word that is the name of a file or setting stays as it is.
    """
    message = without_places(message)
    first = message.partition(" ")[0]
    return f"{message[:1].upper() if first.isalpha() else message[:1]}{message[1:]}."


def as_sentence(error: PalmDemoError) -> str:
    """The message of an error as a sentence, with a capital and a full stop. Paths are not hidden."""
    message = str(error)
    return f"{message[:1].upper()}{message[1:]}."


def without_places(message: str) -> str:
    """A message in which only the last name of each path on this machine is left. Visitors need not know
    the folders."""
    known = {os.getcwd(), str(Path.home()), tempfile.gettempdir(), str(upload_folder())} - {"/"}
    roots = "|".join(re.escape(root) for root in sorted(known, key=len, reverse=True))
    inside = r"(?:[/\\][^\n/\\'\",;)]+)*" if os.sep == "\\" else r"(?:/[^\n/'\",;)]+)*"
    places = rf"(?:{roots}){inside}|{PATH}|{WINDOWS_PATH}"
    return re.sub(places, lambda found: _last_name(found[0]), message)


def _last_name(path: str) -> str:
    if re.match(r"[A-Za-z]:\\", path):
        path = path.replace("\\", "/")
    head, _, name = path.rstrip("/").rpartition("/")
    after = name[len(name.rstrip()) :] if head else ""
    return f"…/{name.strip()}{after}"
