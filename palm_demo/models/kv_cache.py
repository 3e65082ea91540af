"""What requests keep between steps: preallocated keys and values, in rows that come and go."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from palm_demo.errors import CapacityError
from palm_demo.models.attention import CausalMask, LayerAttention


class RowCache(ABC):
    """Keys and values of some layers for rows that differ in length.

    keys, values: (layers, rows, heads, capacity, d). The first `len(lengths)` rows are in use; a
    row that leaves is replaced by the last one, so that a step reads one block of memory. What no row in
    use has taken in is zero: a mask hides it, but a number there that is not finite would come through
    as 0 * inf.
    """

    def __init__(self, keys: Tensor, values: Tensor, lengths: list[int]):
        self.keys, self.values, self.lengths = keys, values, lengths
        self._ends = [self.capacity] * len(lengths)
        """How far each row has been written to: beyond its length where it was padded, or a step failed."""

    @property
    def capacity(self) -> int:
        """Tokens that a row can hold."""
        return self.keys.shape[3]

    @property
    def size_bytes(self) -> int:
        return 2 * self.keys.numel() * self.keys.element_size()

    def clear(self) -> None:
        """Takes all rows out of use."""
        for row, end in enumerate(self._ends):
            self._wipe(row, 0, end)
        self.lengths, self._ends = [], []

    def put(self, other: "RowCache") -> None:
        """Takes in the only row of another cache, behind the rows in use.

        Raises CapacityError when it is longer than a row can be.
        """
        (length,), row = other.lengths, len(self.lengths)
        self._make_room(length)
        self.keys[:, row, :, :length] = other.keys[:, 0, :, :length]
        self.values[:, row, :, :length] = other.values[:, 0, :, :length]
        self.lengths.append(length)
        self._ends.append(length)

    @abstractmethod
    def _make_room(self, tokens: int) -> None:
        """For a row of so many tokens. Raises CapacityError where that cannot be."""

    def drop(self, row: int) -> None:
        """Takes a row out of use; the last one in use moves into its place."""
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
        """Rows in use become copies of those named, in that order, as many as are named."""
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]
        self.lengths = [self.lengths[row] for row in rows]
        self._ends = [self._ends[row] for row in rows]

    def visible(self, tokens: int) -> tuple[Tensor, Tensor]:
        """Views of the rows in use, up to so many tokens: (layers, b, heads, tokens, d) twice."""
        rows = len(self.lengths)
        return self.keys[:, :rows, :, :tokens], self.values[:, :rows, :, :tokens]


class KVCache(RowCache):
    """Self-attention's keys and values of every layer: all rows in use at first, empty.

    Rows may differ in length: a ragged batch is padded on the right, and what a padded token
    wrote is overwritten by the next real one before anything can see it.
    """

    def __init__(self, depth: int, batch: int, capacity: int, dim_head: int, like: Tensor, heads: int = 1):
        """`like` gives dtype and device. heads: 1 where all heads of a block share keys and values."""
        keys = like.new_zeros((depth, batch, heads, capacity, dim_head))
        super().__init__(keys, torch.zeros_like(keys), [0] * batch)
        self._ends = [0] * batch

    def extend_by(self, new_tokens: int) -> "CachedCausalMask":
        """The attention pattern for the next `new_tokens` of every row.

        Raises CapacityError when a row would outgrow the cache.
        """
        self._make_room(max(self.lengths) + new_tokens)
        reached = zip(self._ends, self.lengths, strict=True)
        self._ends = [max(end, length + new_tokens) for end, length in reached]
        return CachedCausalMask(self, new_tokens)

    def advance(self, new_tokens: list[int]) -> None:
        """Records how many real tokens each row took in."""
        self.lengths = [length + n for length, n in zip(self.lengths, new_tokens, strict=True)]

    def _make_room(self, tokens: int) -> None:
        if tokens > self.capacity:
            raise CapacityError(
                f"the request holds {tokens} tokens but its cache was made for {self.capacity}; "
                "ask for fewer new tokens or a shorter prompt"
            )


class ContextCache(RowCache):
    """Cross-attention's keys and values of what each row looks at, made once per request.

    It grows with the longest row that is put in.
    """

    def __init__(self, made: Mapping[int, tuple[Tensor, Tensor]], lengths: list[int]):
        """made: by layer, each (b, heads, m, d). lengths: how much of m is each row's own."""
        self.layers = list(made)
        keys, values = (torch.stack(kind) for kind in zip(*made.values(), strict=True))
        super().__init__(keys, values, lengths)

    def by_layer(self) -> dict[int, tuple[Tensor, Tensor]]:
        """(b, heads, m, d) keys and values up to the longest row."""
        return dict(zip(self.layers, zip(*self.visible(max(self.lengths)), strict=True), strict=True))

    def _make_room(self, tokens: int) -> None:
        if tokens > self.capacity:
            missing = (0, 0, 0, tokens - self.capacity)
            self.keys, self.values = F.pad(self.keys, missing), F.pad(self.values, missing)


class CachedCausalMask:
    """Causal attention that writes new keys and values into the cache and reads what is there.

    What all layers share is made once a pass: positions, the mask, where to write.
    """

    def __init__(self, cache: KVCache, new_tokens: int):
        self.cache = cache
        self.new_tokens = new_tokens
        self.start = cache.lengths[0] if len(set(cache.lengths)) == 1 else None
        longest = max(cache.lengths) + new_tokens
        self.keys, self.values = cache.visible(longest)
        device = cache.keys.device
        offsets = torch.arange(new_tokens, device=device)
        if self.start is not None:
            self._positions = self.start + offsets
        else:
            self._positions = torch.tensor(cache.lengths, device=device)[:, None] + offsets
            self._rows = torch.arange(len(cache.lengths), device=device)[:, None]
        self.mask = self._mask(longest)

    def _mask(self, longest: int) -> Tensor | None:
        """(b or 1, 1, n, m), or None where every new token sees all there is."""
        if self.start is not None and self.new_tokens == 1:
            return None
        seen = torch.arange(longest, device=self._positions.device)
        positions = self._positions if self._positions.ndim == 2 else self._positions[None]
        return rearrange(seen <= positions[..., None], "b n m -> b 1 n m")

    def positions(self, states: Tensor) -> Tensor:
        return self._positions

    def seen(self, states: Tensor) -> Tensor:
        if self.mask is not None:
            return self.mask
        return torch.ones(1, 1, 1, self.keys.shape[3], dtype=torch.bool, device=states.device)

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        self._write(self.keys[layer], keys)
        self._write(self.values[layer], values)
        return self.keys[layer], self.values[layer]

    def at(self, layer: int) -> LayerAttention:
        def attend(queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
            self.update(layer, keys, values)
            if self.start == 0:
                return CausalMask()(queries, keys, values, scale)
            return self._read(layer, queries, scale)

        return attend

    def _write(self, store: Tensor, new: Tensor) -> None:
        if self.start is not None:
            store[:, :, self.start :] = new
        else:
            store[self._rows, :, self._positions] = new.transpose(1, 2).to(store.dtype)

    def _read(self, layer: int, queries: Tensor, scale: float) -> Tensor:
        """Where all heads share keys, one head of h * n queries: no copies of the keys."""
        keys, values, mask = self.keys[layer], self.values[layer], self.mask
        heads, shared = queries.shape[1], keys.shape[1] == 1
        if shared:
            if mask is not None and self.new_tokens > 1:
                mask = mask.repeat(1, 1, heads, 1)
            queries = rearrange(queries, "b h n d -> b 1 (h n) d")
        out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, scale=scale)
        return rearrange(out, "b 1 (h n) d -> b h n d", h=heads) if shared else out
