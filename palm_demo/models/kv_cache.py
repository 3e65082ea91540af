"""The KV cache: preallocated keys and values that requests keep between steps, in rows that come and go.

Letters: `b` batch, `n` new tokens, `m` visible tokens, `h` heads, `d` head width.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from palm_demo.errors import CapacityError
from palm_demo.models.attention import CausalMask, LayerAttention
from palm_demo.models.layers import Rotation


class RowCache(ABC):
    """Keys and values of some layers, in rows that differ in length.

    keys, values: (layers, rows, heads, capacity, d). The first `len(lengths)` rows are in use. A row
    that leaves is replaced by the last one, so that a step reads one block of memory.

    Unused positions are zero. Masks hide them, but 0 * inf would still spoil the result if one of them
    held a number that is not finite.
    """

    def __init__(self, keys: Tensor, values: Tensor, lengths: list[int]):
        self.keys, self.values, self.lengths = keys, values, lengths
        self._ends = [self.capacity] * len(lengths)
        """Up to where each row has been written: beyond its length where it was padded, or a step failed."""

    @property
    def capacity(self) -> int:
        """Tokens that a row can hold."""
        return self.keys.shape[3]

    @property
    def size_bytes(self) -> int:
        """Memory of keys and values together."""
        return 2 * self.keys.numel() * self.keys.element_size()

    def clear(self) -> None:
        """Takes all rows out of use."""
        for row, end in enumerate(self._ends):
            self._wipe(row, 0, end)
        self.lengths, self._ends = [], []

    def put(self, other: "RowCache") -> None:
        """Appends the only row of another cache to the rows in use.

        Raises CapacityError when the row is longer than a row can be.
        """
        (length,), row = other.lengths, len(self.lengths)
        self._make_room(length)
        self.keys[:, row, :, :length] = other.keys[:, 0, :, :length]
        self.values[:, row, :, :length] = other.values[:, 0, :, :length]
        self.lengths.append(length)
        self._ends.append(length)

    @abstractmethod
    def _make_room(self, tokens: int) -> None:
        """Ensures room for a row of `tokens` tokens. Raises CapacityError if that is impossible."""

    def drop(self, row: int) -> None:
        """Takes a row out of use. The last one in use moves into its place."""
        last, length, end = len(self.lengths) - 1, self.lengths[-1], self._ends[-1]
        if row != last:
            self.keys[:, row, :, :end] = self.keys[:, last, :, :end]
            self.values[:, row, :, :end] = self.values[:, last, :, :end]
            self._wipe(row, end, self._ends[row])
            self.lengths[row], self._ends[row] = length, end
        self._wipe(last, 0, end)
        self.lengths.pop()
        self._ends.pop()

    def _wipe(self, row: int, start: int, stop: int) -> None:
        self.keys[:, row, :, start:stop] = 0
        self.values[:, row, :, start:stop] = 0

    def reorder(self, rows: list[int]) -> None:
        """Replaces the rows in use by copies of the given ones, in the given order (for beam search)."""
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]
        self.lengths = [self.lengths[row] for row in rows]
        self._ends = [self._ends[row] for row in rows]

    def visible(self, tokens: int) -> tuple[Tensor, Tensor]:
        """Views of keys and values of the rows in use up to `tokens`, (layers, b, heads, tokens, d) each."""
        rows = len(self.lengths)
        return self.keys[:, :rows, :, :tokens], self.values[:, :rows, :, :tokens]


class KVCache(RowCache):
    """Keys and values of self-attention in every layer. At first all rows are in use and empty.

    Rows may differ in length: a ragged batch is padded on the right, and what a padding token wrote is
    overwritten by the next real token before any query can see it.
    """

    def __init__(self, depth: int, batch: int, capacity: int, dim_head: int, like: Tensor, heads: int = 1):
        """like: a tensor of the wanted dtype and device. heads: 1 if all heads share keys and values."""
        keys = like.new_zeros((depth, batch, heads, capacity, dim_head))
        super().__init__(keys, torch.zeros_like(keys), [0] * batch)
        self._ends = [0] * batch

    def extend_by(self, new_tokens: int) -> "CachedCausalMask":
        """The attention mask for the next `new_tokens` of every row. Its attention writes them into the
        cache.

        Raises CapacityError when a row would outgrow the cache.
        """
        self._make_room(max(self.lengths) + new_tokens)
        reached = zip(self._ends, self.lengths, strict=True)
        self._ends = [max(end, length + new_tokens) for end, length in reached]
        return CachedCausalMask(self, new_tokens)

    def advance(self, new_tokens: list[int]) -> None:
        """Records how many of the new tokens were real, per row."""
        self.lengths = [length + n for length, n in zip(self.lengths, new_tokens, strict=True)]

    def begin_with(self, keys: Tensor, values: Tensor) -> None:
        """Fills an empty cache's only row with tokens that were read before: (layers, heads, n, d) each."""
        tokens = keys.shape[2]
        self._make_room(tokens)
        self.keys[:, 0, :, :tokens], self.values[:, 0, :, :tokens] = keys, values
        self.lengths, self._ends = [tokens], [tokens]

    def slide(self, kept: int, back: Rotation) -> None:
        """Drops all tokens of the only row but the first and the last `kept`, which move up behind the
        first.

        `back`: the rotation from a token's old position to its new one.
        """
        (length,) = self.lengths
        keys, values = (
            stored[:, 0, :, length - kept : length].clone() for stored in (self.keys, self.values)
        )
        self._wipe(0, 1, length)
        self.keys[:, 0, :, 1 : kept + 1], self.values[:, 0, :, 1 : kept + 1] = back.of_keys(keys), values
        self.lengths, self._ends = [kept + 1], [kept + 1]

    def _make_room(self, tokens: int) -> None:
        if tokens > self.capacity:
            raise CapacityError(
                f"the request holds {tokens} tokens but its cache was made for {self.capacity}; "
                "ask for fewer new tokens or a shorter prompt"
            )


class ContextCache(RowCache):
    """Keys and values of cross-attention, made once per request from each row's pictures.

    The cache grows with the longest row that is put in.
    """

    def __init__(self, by_layer: Mapping[int, tuple[Tensor, Tensor]], lengths: list[int]):
        """by_layer: keys and values, (b, heads, m, d) each. lengths: how much of m belongs to each row."""
        self.layers = list(by_layer)
        keys, values = (torch.stack(kind) for kind in zip(*by_layer.values(), strict=True))
        super().__init__(keys, values, lengths)

    def by_layer(self) -> dict[int, tuple[Tensor, Tensor]]:
        """Keys and values up to the longest row, (b, heads, m, d) each, by layer."""
        return dict(zip(self.layers, zip(*self.visible(max(self.lengths)), strict=True), strict=True))

    def _make_room(self, tokens: int) -> None:
        if tokens > self.capacity:
            missing = (0, 0, 0, tokens - self.capacity)
            self.keys, self.values = F.pad(self.keys, missing), F.pad(self.values, missing)


class CachedCausalMask:
    """The causal mask of a pass over new tokens, whose attention writes to the cache and reads from it.

    Positions, masks, views of the layers and the places to write to are computed once per pass, for
    all layers.
    """

    def __init__(self, cache: KVCache, new_tokens: int):
        self.new_tokens = new_tokens
        self.start = cache.lengths[0] if len(set(cache.lengths)) == 1 else None
        self._longest = max(cache.lengths) + new_tokens
        keys, values = cache.visible(self._longest)
        self.keys, self.values = keys.unbind(), values.unbind()
        device, rows = keys.device, len(cache.lengths)
        offsets = torch.arange(new_tokens, device=device)
        if self.start is not None:
            self._positions = self.start + offsets
            new = (stored[:, :, :, self.start :].unbind() for stored in (keys, values))
        else:
            self._positions = torch.tensor(cache.lengths, device=device)[:, None] + offsets
            first = torch.arange(rows * keys.shape[2], device=device).view(rows, -1, 1) * cache.capacity
            self._places = (first + self._positions[:, None]).flatten()
            new = (stored.flatten(1, 3).unbind() for stored in (cache.keys, cache.values))
        self._new_keys, self._new_values = new
        self._mask = self._make_mask()
        self._biases: dict[torch.dtype, Tensor] = {}

    def _make_mask(self) -> Tensor | None:
        """The boolean mask (b or 1, 1, n, m); None if every new token sees everything."""
        if self.start is not None and self.new_tokens == 1:
            return None
        columns = torch.arange(self._longest, device=self._positions.device)
        positions = self._positions if self._positions.ndim == 2 else self._positions[None]
        return rearrange(columns <= positions[..., None], "b n m -> b 1 n m")

    def positions(self, states: Tensor) -> Tensor:
        return self._positions

    def mask(self, states: Tensor) -> Tensor:
        if self._mask is not None:
            return self._mask
        return torch.ones(1, 1, 1, self._longest, dtype=torch.bool, device=states.device)

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        self._write(self._new_keys[layer], keys)
        self._write(self._new_values[layer], values)
        return self.keys[layer], self.values[layer]

    def at(self, layer: int) -> LayerAttention:
        return partial(self._attend, layer)

    def _attend(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
        all_keys, all_values = self.update(layer, keys, values)
        if self.start == 0:
            return CausalMask()(queries, keys, values, scale)
        bias, heads, shared = self._bias(queries.dtype), queries.shape[1], keys.shape[1] == 1
        if shared and self.new_tokens == 1:  # queries become one head: keys and values are read once
            queries = queries.transpose(1, 2)
        elif shared:
            all_keys, all_values = (t.expand(-1, heads, -1, -1) for t in (all_keys, all_values))
        out = F.scaled_dot_product_attention(queries, all_keys, all_values, attn_mask=bias, scale=scale)
        return out.transpose(1, 2) if shared and self.new_tokens == 1 else out

    def _write(self, store: Tensor, new: Tensor) -> None:
        if self.start is not None:
            store.copy_(new)
        else:
            store.index_copy_(0, self._places, new.reshape(-1, new.shape[-1]).to(store.dtype))

    def _bias(self, dtype: torch.dtype) -> Tensor | None:
        """The mask as numbers that are added to scores, 0 or -inf, in one dtype for all layers."""
        if self._mask is None:
            return None
        if dtype not in self._biases:
            none = torch.zeros(self._mask.shape, dtype=dtype, device=self._mask.device)
            self._biases[dtype] = none.masked_fill_(~self._mask, -torch.inf)
        return self._biases[dtype]
