"""The errors a user can cause. Each message names the value, the limit and the remedy."""

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import cast

SHOWN_CHARACTERS = 60
"""The most characters of a value that an error quotes."""
MOST_DIGITS = 100
"""The most digits of a whole number that is taken or quoted. Python itself writes no more than 4,300."""
LOOKED_AT = 20 * SHOWN_CHARACTERS
"""The most characters, or items, of a value that is quoted by its beginning."""


class PalmDemoError(ValueError):
    """The base of all errors that the caller can mend."""


class ArgumentError(PalmDemoError):
    """An argument that a verb does not take, or of a kind that it cannot use."""


class PromptError(PalmDemoError):
    """A prompt that cannot be run: empty, too long, or at odds with its media."""


class MediaError(PalmDemoError):
    """A picture or video that cannot be read, or is too large."""


class ScopeError(PalmDemoError):
    """A LoRA scope that is unknown, already there, or does not fit the model."""


class FinetuningError(PalmDemoError):
    """A text that cannot be trained on, or a training that fails."""


class SamplingError(PalmDemoError):
    """A sampling setting outside its range."""


class NotFiniteError(PalmDemoError):
    """A text for which a model computed numbers that are not finite, because its scope or weights are out
    of range."""


class CheckpointError(PalmDemoError):
    """A weights file that is missing, damaged, or of another model."""


class BusyError(PalmDemoError):
    """More requests at once than a batch and its queue take."""


class ClosingError(PalmDemoError):
    """A request to models that are being closed, or one that did not finish in time."""


class LeftError(PalmDemoError):
    """A request of a client who has left."""


class CapacityError(PalmDemoError):
    """More tokens than the cache of a request was made for."""


class DeviceMemoryError(PalmDemoError):
    """A request for which the device has not enough memory."""


class MissingExtraError(PalmDemoError):
    """A request that needs a package which is not installed."""


@dataclass(frozen=True)
class Diagnostic:
    """A mistake in a file.

    Attributes:
        place: such as Spacefile:12.
        wrong: what is wrong.
        remedy: what to do about it.
    """

    place: str
    wrong: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.place}: {self.wrong}; {self.remedy}"


class FileError(PalmDemoError):
    """A settings file with mistakes, which `diagnostics` lists."""

    def __init__(self, name: str, diagnostics: Sequence[Diagnostic]):
        self.diagnostics = diagnostics
        super().__init__("\n".join([f"{name} cannot be used as it is:", *map(str, diagnostics)]))


class ProfileError(PalmDemoError):
    """A profile that is unknown, does not fit the machine, or whose files cannot be downloaded."""


class SpaceError(PalmDemoError):
    """A Space that cannot be checked or deployed, or does not run."""


class ServingError(PalmDemoError):
    """An address or a port on which no page can be served."""


class ClusterError(PalmDemoError):
    """Ray that cannot be started or reached, or a Ray process that went away."""


class GpuError(PalmDemoError):
    """A GPU that ZeroGPU does not provide, or takes back before the answer is there."""


class GalleryError(PalmDemoError):
    """A gallery that cannot be opened or written, or something that is not in it."""


class OtherWeightsError(GalleryError):
    """A gallery that other weights made, whose embeddings cannot be compared with those of these weights."""


def places(error: Exception) -> str:
    """The places in the code that an error came through, for the log. Its message may quote a visitor's
    text."""
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
        kind_of = "a whole number, " if whole else ""
        raise error(f"{name} is {shown(value)}; it can be {kind_of}{low} to {high} ({hint})")


def shown(value: object) -> str:
    """A value as an error quotes it: short, and on one line."""
    if isinstance(value, int) and abs(value) >= 10**MOST_DIGITS:
        return f"a number of more than {MOST_DIGITS} digits"
    if isinstance(value, (str, bytes, bytearray, list, tuple)):
        value = value[:LOOKED_AT]
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    text = " ".join(text.split())
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"
