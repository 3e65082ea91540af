"""Errors as messages to a visitor. The only place that turns the one into the other."""

import html
import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from palm_demo.errors import PalmDemoError

logger = logging.getLogger(__name__)

OUR_FAULT = "Something went wrong on our side. Please try again; the rest of the page still works."


@contextmanager
def on_page() -> Iterator[None]:
    """A visitor's mistake becomes a message on the page, whose text is HTML and so is escaped."""
    with _told(html.escape):
        yield


@contextmanager
def in_api() -> Iterator[None]:
    """A caller's mistake becomes the error of `gradio_client`, in plain text."""
    with _told(str):
        yield


@contextmanager
def _told(quote) -> Iterator[None]:
    try:
        yield
    except PalmDemoError as error:
        raise gr.Error(quote(_sentence(str(error))), title="Please check", print_exception=False) from error
    except gr.Error:
        raise
    except Exception as error:
        # the message of an unforeseen error may quote a visitor's text: log where, not what
        places = "".join(traceback.format_tb(error.__traceback__))
        logger.error("unforeseen %s\n%s", type(error).__name__, places)
        raise gr.Error(OUR_FAULT, title="Sorry", print_exception=False) from error


def _sentence(message: str) -> str:
    return f"{message[:1].upper()}{message[1:]}."
