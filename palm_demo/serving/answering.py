"""What the process that has the models says to the page's: facts, answers, and errors as values."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace

from palm_demo.errors import PalmDemoError, places
from palm_demo.inference.lora_finetuning import Progress
from palm_demo.inference.prompts import PromptForm
from palm_demo.media import MediaLimits
from palm_demo.session import Session

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SessionInfo:
    """What the page wants to know of a session without asking each time, as the session has it.
    frames: that Flamingo sees of a video."""

    about: dict[str, dict[str, str | int]]
    scopes: list[str]
    context: int
    dim_latents: int
    fingerprint: str
    media_limits: MediaLimits
    bundled: bool
    form: PromptForm
    pictures_of_video: int | None
    frames: int

    @classmethod
    def of(cls, session: Session) -> "SessionInfo":
        own = {field.name: getattr(session, field.name) for field in fields(cls) if field.name != "frames"}
        return cls(**own, frames=session.systems.frames)


@dataclass(frozen=True)
class Failed:
    """An error as an answer. Whoever carries it would wrap it, and write what it says, a visitor's words,
    to a log."""

    error: Exception


def failed(error: Exception) -> Failed:
    """Of an unforeseen error the log says where, not what."""
    if isinstance(error, PalmDemoError):
        return Failed(error)
    logger.error("unforeseen %s\n%s", type(error).__name__, places(error))
    return Failed(RuntimeError(f"{type(error).__name__} where the models are; the log says where"))


def answered(function: Callable, *arguments, **settings) -> object:
    """What the function gives, or Failed."""
    try:
        return function(*arguments, **settings)
    except Exception as error:
        return failed(error)


def each_adapter_once(items: Iterable[object]) -> Iterator[object]:
    """Progress without its adapter where that is the one before: it is what takes long to send."""
    sent = None
    for item in items:
        if isinstance(item, Progress):
            adapter = item.adapter
            item, sent = (replace(item, adapter=None) if adapter is sent else item), adapter
        yield item
