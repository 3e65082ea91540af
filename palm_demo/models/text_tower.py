"""What Flamingo asks of a language model: our parallel decoder has it, and those of transformers."""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, nn

from palm_demo.attention import CausalPattern
from palm_demo.cache import KVCache
from palm_demo.decoder import Bridge, Size


class TextTower(Protocol):
    """Ids are embedded by `embedding`, run through blocks with bridges among them, and read by `logits`."""

    size: Size
    embedding: nn.Embedding
    norm: nn.Module

    def __call__(self, states: Tensor, pattern: CausalPattern, bridges: Mapping[int, Bridge]) -> Tensor:
        """(b, n, dim) embeddings -> (b, n, dim) states after the last block, not normed.

        bridges: what to run at which block. Whether that is before or after the block is the tower's
        to say: the bridges' weights were trained in one of the two places.
        """

    def logits(self, states: Tensor) -> Tensor:
        """(..., dim) states of the last block -> (..., vocab)."""

    def new_cache(self, rows: int, capacity: int) -> KVCache:
        """For so many rows of at most `capacity` tokens, all in use and empty."""

    def requires_grad_(self, requires_grad: bool) -> object: ...
