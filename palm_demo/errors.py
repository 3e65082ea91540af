"""The errors a user can cause. Each message names the value, the limit and the remedy."""

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import cast

SHOWN_CHARACTERS = 60
"""Of a value that an error quotes."""


class PalmDemoError(ValueError):
    """Base of everything that is the caller's to mend."""


class ArgumentError(PalmDemoError):
    """An argument that a verb does not take, or of a kind that it cannot use."""


class PromptError(PalmDemoError):
    """A prompt that cannot be run: empty, too long, or at odds with its media."""


class MediaError(PalmDemoError):
    """A picture or video that cannot be read, or is too large."""


class ScopeError(PalmDemoError):
    """A LoRA scope that is unknown, already there, or does not fit the model."""


class FinetuningError(PalmDemoError):
    """A text that cannot be taught, or a teaching that goes astray."""


class SamplingError(PalmDemoError):
    """A sampling setting outside its range."""


class NotFiniteError(PalmDemoError):
    """A text for which a model computed no finite numbers: its scope, or the weights, are out of range."""


class CheckpointError(PalmDemoError):
    """A weights file that is missing, damaged, or of another model."""


class BusyError(PalmDemoError):
    """More requests at once than a batch and its waiting line take."""


class ClosingError(PalmDemoError):
    """A request to models that are being closed, or one that was not done in time."""


class LeftError(PalmDemoError):
    """A request of somebody who is not there any more to hear what comes of it."""


class CapacityError(PalmDemoError):
    """More tokens than the cache of a request was made for."""


class DeviceMemoryError(PalmDemoError):
    """A request for which the device has no memory left."""


class MissingExtraError(PalmDemoError):
    """Something was asked for that needs a package which is not installed."""


@dataclass(frozen=True)
class Diagnostic:
    """What is wrong, where, and what to do about it. place: such as Spacefile:12."""

    place: str
    wrong: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.place}: {self.wrong}; {self.remedy}"


class FileError(PalmDemoError):
    """A file of settings with mistakes in it, each of which is one of `diagnostics`."""

    def __init__(self, name: str, diagnostics: Sequence[Diagnostic]):
        self.diagnostics = diagnostics
        super().__init__("\n".join([f"{name} cannot be used as it is:", *map(str, diagnostics)]))


class ProfileError(PalmDemoError):
    """A profile that is unknown, does not fit the machine, or whose files cannot be had."""


class SpaceError(PalmDemoError):
    """A Space that cannot be checked or deployed, or does not run."""


class ClusterError(PalmDemoError):
    """Ray that cannot be started or reached, or a process of its that went away."""


class GpuError(PalmDemoError):
    """A GPU that ZeroGPU does not lend, or takes back before the answer is there."""


class GalleryError(PalmDemoError):
    """A gallery that cannot be opened or written, or something that is not in it."""


def places(error: Exception) -> str:
    """Where an error came through, for the log: what it says may quote a visitor's text."""
    return "".join(traceback.format_tb(error.__traceback__))


def check_number(
    name: str,
    value: object,
    low: float,
    high: float,
    hint: str,
    error: type[PalmDemoError],
    *,
    whole: bool = False,
) -> None:
    """Raises `error`, which names value, range and hint, unless the value is a number from low to high."""
    kind = Integral if whole else Real
    is_number = isinstance(value, kind) and not isinstance(value, bool)
    if not is_number or not low <= cast("float", value) <= high:
        said = "a whole number, " if whole else ""
        raise error(f"{name} is {shown(value)}; it can be {said}{low} to {high} ({hint})")


def shown(value: object) -> str:
    """A value as an error shows it: short, and on one line."""
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    text = " ".join(text.split())
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"
