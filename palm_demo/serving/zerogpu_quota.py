"""How long a request borrows a GPU of ZeroGPU's at most: what a visitor's quota has to hold for it to begin.

ZeroGPU takes back what is lent for longer, puts short requests first in its line, and counts what was used.
So these are the slow end of what is to be expected on its GPUs, reckoned, not measured.
"""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping

from PIL import Image

from palm_demo.inference.settings import FinetuningConfig
from palm_demo.session import ANSWERED, CONTINUED, Session

LONGEST = 80
"""Who has no account has 120 seconds a day, and on one of ZeroGPU's two kinds of GPU a second counts as one
and a half (`duration_factor` of the package `spaces`): nobody is asked for more than anybody has."""

STARTING = 6.0
"""To fork a process and make CUDA ready in it."""
BYTES_A_SECOND = 3e9
"""Weights on their way to the GPU, from memory that is not pinned."""
NEW_TOKEN = 0.06
"""A step of decoding is many small kernels: Python takes longer than the GPU, for a small model as well."""
READ_CHARACTER = 0.0005
"""A token has three characters or more, and many are read at once."""
PICTURE = 0.3
LAST_JUDGEMENT = 5.0
"""After its last step a scope is judged once more."""


def seconds_for(verb: Callable, arguments: tuple, settings: Mapping, weights_bytes: int) -> int:
    """Seconds for a verb of Session with its arguments, of models whose weights have so many bytes."""
    named = inspect.signature(verb).bind(None, *arguments, **settings).arguments
    work = _work(verb, {**named, **named.get("settings", {})})
    return min(LONGEST, math.ceil(_before(weights_bytes) + work))


def longest_finetuning(weights_bytes: int) -> float:
    """Seconds that a scope can be taught before the GPU has to go back."""
    return max(1.0, LONGEST - _before(weights_bytes) - LAST_JUDGEMENT)


def _before(weights_bytes: int) -> float:
    return STARTING + weights_bytes / BYTES_A_SECOND


def _work(verb: Callable, named: Mapping[str, object]) -> float:
    if verb is Session.finetune:
        return named.get("seconds", FinetuningConfig.seconds) + LAST_JUDGEMENT
    default = CONTINUED if verb is Session.stream else ANSWERED
    new_tokens = named.get("max_new_tokens", default.max_new_tokens)
    parts = [*_parts(list(named.values()))]
    read = sum(len(part) for part in parts if isinstance(part, str))
    pictures = sum(isinstance(part, Image.Image) for part in parts)
    return NEW_TOKEN * new_tokens + READ_CHARACTER * read + PICTURE * pictures


def _parts(value: object) -> Iterator[object]:
    """The items of nested lists."""
    if not isinstance(value, (list, tuple)):
        yield value
        return
    for one in value:
        yield from _parts(one)
