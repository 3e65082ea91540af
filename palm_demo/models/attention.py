"""Which keys a query sees: the patterns a decoder pass can be run with.

A pattern gives the positions of the new tokens and, for each layer, the attention itself.
The one key/value head of multi-query attention (Shazeer 2019) is never copied per head.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

PLAIN_TOKENS = 512
"""Up to so many, plain matrix products in bf16 train faster on a CPU than `scaled_dot_product_attention`."""


class LayerAttention(Protocol):
    def __call__(self, queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
        """(b, h, n, d) queries; (b, 1, n, d) keys and values of the new tokens -> (b, h, n, d)."""


class AttentionMask(Protocol):
    def positions(self, states: Tensor) -> Tensor:
        """(n,) or (b, n) absolute positions of the new tokens in `states` (b, n, dim)."""

    def at(self, layer: int) -> LayerAttention: ...


class UpdatingMask(AttentionMask, Protocol):
    """One that also serves attention which is not ours, and asks for all keys and values and a mask."""

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """(b, h, n, d) keys and values of the new tokens -> (b, h, m, d), of all that any of them may see."""

    def seen(self, states: Tensor) -> Tensor:
        """(b or 1, 1, n, m) bool, which of those each new token in `states` (b, n, dim) sees."""


class CausalMask:
    """Each token sees itself and what stands before it."""

    def positions(self, states: Tensor) -> Tensor:
        return torch.arange(states.shape[1], device=states.device)

    def at(self, layer: int) -> LayerAttention:
        return self

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        return keys, values

    def seen(self, states: Tensor) -> Tensor:
        tokens = states.shape[1]
        return torch.ones(1, 1, tokens, tokens, dtype=torch.bool, device=states.device).tril()

    def __call__(self, queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
        if _trains_here(queries):
            return attend_by_products(queries, keys, values, scale)
        heads = queries.shape[1]
        keys, values = (t.expand(-1, heads, -1, -1) for t in (keys, values))
        return F.scaled_dot_product_attention(queries, keys, values, is_causal=True, scale=scale)


class VisibleMask:
    """Each token sees what a mask allows, by default in both directions.

    mask: bool, (b, n, m) or (b, 1, m), true where the query may look. A query that may look
    nowhere gets zeros.
    """

    def __init__(self, mask: Tensor):
        self.mask = rearrange(mask, "b n m -> b 1 n m")

    def positions(self, states: Tensor) -> Tensor:
        return torch.arange(states.shape[1], device=states.device)

    def at(self, layer: int) -> LayerAttention:
        return self

    def __call__(self, queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
        heads = queries.shape[1]
        keys, values = (t.expand(-1, heads, -1, -1) for t in (keys, values))
        return attend_visible(queries, keys, values, self.mask, scale)


def _trains_here(queries: Tensor) -> bool:
    """Whether a gradient is wanted of a short text in bf16 on a CPU, where plain products are faster."""
    here = queries.device.type == "cpu" and queries.dtype == torch.bfloat16
    return here and queries.requires_grad and queries.shape[2] <= PLAIN_TOKENS


def attend_by_products(queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
    """Causal attention of all heads to the one key/value head, (b, h, n, d) and twice (b, 1, n, d) ->
    (b, h, n, d), as two matrix products a row."""
    tokens, heads = queries.shape[2], queries.shape[1]
    scores = (queries * scale).flatten(1, 2) @ keys[:, 0].transpose(1, 2)
    later = torch.ones(tokens, tokens, dtype=torch.bool, device=queries.device).triu(1)
    scores = scores.unflatten(1, (heads, tokens)).masked_fill(later, -torch.inf)
    weights = scores.softmax(dim=-1).to(values.dtype).flatten(1, 2)
    return (weights @ values[:, 0]).unflatten(1, (heads, tokens))


def attend_visible(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Masked attention in which a query with no visible key gets exactly zero.

    queries (b, h, n, d); keys, values (b, h, m, d); mask bool, broadcastable to (b, h, n, m).
    The softmax over an empty set would be uniform or NaN; Flamingo's text before the first
    picture must not see anything (section 3.1.3).
    """
    has_any_key = mask.any(dim=-1, keepdim=True)
    out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask | ~has_any_key, scale=scale)
    return out * has_any_key.to(out.dtype)


def attention_weights(queries: Tensor, keys: Tensor, mask: Tensor, scale: float) -> Tensor:
    """What `attend_visible` weighs the values with, (b, h, n, m): each query's sum to 1, or all are 0
    where it sees no key."""
    has_any_key = mask.any(dim=-1, keepdim=True)
    scores = (queries @ keys.transpose(-1, -2)) * scale
    weights = scores.masked_fill(has_any_key & ~mask, -torch.inf).softmax(dim=-1)
    return weights * has_any_key.to(weights.dtype)
