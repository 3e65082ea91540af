"""From logits to text: sampling, decoding in steps, text deltas. Knows no model."""

from palm_demo.generation.sampling import Sampler, Sampling
from palm_demo.generation.stream import stream_ids
from palm_demo.generation.text import text_deltas

__all__ = ["Sampler", "Sampling", "stream_ids", "text_deltas"]
