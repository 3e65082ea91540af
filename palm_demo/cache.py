"""The key/value cache of one request: preallocated, one key/value head, a length per row."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from palm_demo.attention import Causal, LayerAttention
from palm_demo.errors import CapacityError


class KVCache:
    """Keys and values of every layer for `batch` rows of up to `capacity` tokens.

    Rows may differ in length: a ragged batch is padded on the right, and what a padded token
    wrote is overwritten by the next real one before anything can see it.
    """

    def __init__(self, depth: int, batch: int, capacity: int, dim_head: int, like: Tensor):
        """`like` gives dtype and device."""
        self.capacity = capacity
        self.lengths = [0] * batch
        self.keys = like.new_zeros((depth, batch, 1, capacity, dim_head))
        self.values = torch.zeros_like(self.keys)

    @property
    def size_bytes(self) -> int:
        return 2 * self.keys.numel() * self.keys.element_size()

    def extend_by(self, new_tokens: int) -> "CachedCausal":
        """The attention pattern for the next `new_tokens` of every row.

        Raises CapacityError when a row would outgrow the cache.
        """
        needed = max(self.lengths) + new_tokens
        if needed > self.capacity:
            raise CapacityError(
                f"the request holds {needed} tokens but its cache was made for {self.capacity}; "
                "ask for fewer new tokens or a shorter prompt"
            )
        return CachedCausal(self, new_tokens)

    def advance(self, new_tokens: list[int]) -> None:
        """Records how many real tokens each row took in."""
        self.lengths = [length + n for length, n in zip(self.lengths, new_tokens, strict=True)]


class CachedCausal:
    """Causal attention that writes new keys and values into the cache and reads all of it."""

    def __init__(self, cache: KVCache, new_tokens: int):
        self.cache = cache
        self.new_tokens = new_tokens
        self.start = cache.lengths[0] if len(set(cache.lengths)) == 1 else None
        self.visible = max(cache.lengths) + new_tokens
        device = cache.keys.device
        offsets = torch.arange(new_tokens, device=device)
        if self.start is not None:
            self._positions = self.start + offsets
        else:
            self._positions = torch.tensor(cache.lengths, device=device)[:, None] + offsets
        self.mask = self._mask()

    def _mask(self) -> Tensor | None:
        """(b or 1, 1, n, m), or None where every new token sees all there is."""
        if self.start is not None and self.new_tokens == 1:
            return None
        seen = torch.arange(self.visible, device=self._positions.device)
        positions = self._positions if self._positions.ndim == 2 else self._positions[None]
        return rearrange(seen <= positions[..., None], "b n m -> b 1 n m")

    def positions(self, states: Tensor) -> Tensor:
        return self._positions

    def at(self, layer: int) -> LayerAttention:
        def attend(queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
            self._write(layer, keys, values)
            if self.start == 0:
                return Causal()(queries, keys, values, scale)
            return self._read(layer, queries, scale)

        return attend

    def _write(self, layer: int, keys: Tensor, values: Tensor) -> None:
        for store, new in ((self.cache.keys[layer], keys), (self.cache.values[layer], values)):
            if self.start is not None:
                store[:, :, self.start : self.visible] = new
            else:
                rows = torch.arange(len(store), device=store.device)[:, None]
                store[rows, 0, self._positions] = new[:, 0].to(store.dtype)

    def _read(self, layer: int, queries: Tensor, scale: float) -> Tensor:
        """One head of h * n queries: multi-query attention without copies of the keys."""
        heads = queries.shape[1]
        keys = self.cache.keys[layer, :, :, : self.visible]
        values = self.cache.values[layer, :, :, : self.visible]
        mask = self.mask if self.mask is None else self.mask.repeat(1, 1, heads, 1)
        queries = rearrange(queries, "b h n d -> b 1 (h n) d")
        out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, scale=scale)
        return rearrange(out, "b 1 (h n) d -> b h n d", h=heads)
