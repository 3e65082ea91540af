"""The longest time that a request may use a GPU of ZeroGPU, which a visitor's quota must cover.

ZeroGPU takes back a GPU after that time, serves short requests first, and counts what was used. The
figures are slow estimates for its GPUs, calculated and not measured.
"""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping

from PIL import Image

from palm_demo.inference.settings import FinetuningConfig
from palm_demo.session import ANSWERED, CONTINUED, Session

LONGEST = 80
"""The longest time of a request. Visitors without an account have 120 seconds a day, and on one kind of
GPU a second counts one and a half times (`duration_factor` of the package `spaces`)."""

STARTING = 6.0
"""Seconds to fork a process and start CUDA in it."""
BYTES_A_SECOND = 3e9
"""Speed of moving weights to the GPU from unpinned memory."""
NEW_TOKEN = 0.06
"""Seconds for a token. A decoding step is many small kernels, so Python takes longer than the GPU, even
for a small model."""
READ_CHARACTER = 0.0005
"""Seconds to read a character. A token has three or more characters, and many are read at once."""
PICTURE = 0.3
LAST_EVALUATION = 5.0
"""Seconds for the evaluation after the last step of a fine-tuning."""


def seconds_for(verb: Callable, arguments: tuple, settings: Mapping, weights_bytes: int) -> int:
    """Seconds that a verb of Session takes with its arguments. weights_bytes: size of the models'
    weights."""
    named = inspect.signature(verb).bind(None, *arguments, **settings).arguments
    return min(LONGEST, math.ceil(_before(weights_bytes) + _work(verb, named)))


def longest_finetuning(weights_bytes: int) -> float:
    """Seconds that a fine-tuning may take before the GPU has to go back."""
    return max(1.0, LONGEST - _before(weights_bytes) - LAST_EVALUATION)


def _before(weights_bytes: int) -> float:
    return STARTING + weights_bytes / BYTES_A_SECOND


def _work(verb: Callable, named: Mapping[str, object]) -> float:
    if verb is Session.finetune:
        return named.get("seconds", FinetuningConfig.seconds) + LAST_EVALUATION
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
