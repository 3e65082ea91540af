"""From logits to text: sampling, decoding in steps, text deltas. Knows no model."""

from palm_demo.generation.batch import ContinuousBatch
from palm_demo.generation.beam import beam_search
from palm_demo.generation.sampling import Sampler
from palm_demo.generation.stream import Row, stream_ids
from palm_demo.generation.text import Waiting, text_deltas
from palm_demo.inference.settings import BatchLimits, Sampling, TextSettings

__all__ = [
    "BatchLimits",
    "ContinuousBatch",
    "Row",
    "Sampler",
    "Sampling",
    "TextSettings",
    "Waiting",
    "beam_search",
    "stream_ids",
    "text_deltas",
]
