"""Estimates how long a request uses a GPU of ZeroGPU.

ZeroGPU takes the GPU back after the estimated time, which the visitor's quota must cover. It serves short
requests first, and counts the time that was used. The constants are cautious estimates for its GPUs,
calculated and not measured.
"""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping

from PIL import Image

from palm_demo.inference.settings import FinetuningConfig
from palm_demo.session import ANSWERED, CONTINUED, Session

LONGEST = 80
"""The longest time of a request, in seconds.

Visitors without an account have 120 seconds a day, and on one kind of GPU a second counts one and a half
times (`duration_factor` of the package `spaces`)."""

STARTING = 6.0
"""Seconds to fork a process and start CUDA in it."""
BYTES_A_SECOND = 3e9
"""Speed of copying weights to the GPU from unpinned memory."""
NEW_TOKEN = 0.06
"""Seconds to decode a token. A step is many small kernels, so Python takes longer than the GPU, even with a
small model."""
READ_CHARACTER = 0.0005
"""Seconds to read a character. A token has three or more characters, and many are read at once."""
PICTURE = 0.3
"""Seconds to encode a picture."""
LAST_EVALUATION = 5.0
"""Seconds for the evaluation after the last step of a fine-tuning."""


def seconds_for(verb: Callable, arguments: tuple, settings: Mapping, weights_bytes: int) -> int:
    """Seconds that a verb of Session takes with its arguments, at most LONGEST.

    weights_bytes: size of the models' weights.
    """
    named = inspect.signature(verb).bind(None, *arguments, **settings).arguments
    return min(LONGEST, math.ceil(_startup_seconds(weights_bytes) + _work_seconds(verb, named)))


def longest_finetuning(weights_bytes: int) -> float:
    """Seconds for the steps of a fine-tuning, at most."""
    return max(1.0, LONGEST - _startup_seconds(weights_bytes) - LAST_EVALUATION)


def _startup_seconds(weights_bytes: int) -> float:
    return STARTING + weights_bytes / BYTES_A_SECOND


def _work_seconds(verb: Callable, named: Mapping[str, object]) -> float:
    if verb is Session.finetune:
        return named.get("seconds", FinetuningConfig.seconds) + LAST_EVALUATION
    default = CONTINUED if verb is Session.stream else ANSWERED
    new_tokens = named.get("max_new_tokens", default.max_new_tokens)
    parts = [*_leaves(list(named.values()))]
    read = sum(len(part) for part in parts if isinstance(part, str))
    pictures = sum(isinstance(part, Image.Image) for part in parts)
    return NEW_TOKEN * new_tokens + READ_CHARACTER * read + PICTURE * pictures


def _leaves(value: object) -> Iterator[object]:
    """The items of nested lists."""
    if not isinstance(value, (list, tuple)):
        yield value
        return
    for one in value:
        yield from _leaves(one)
