"""Attention masks: which keys each query sees, and the attention that is computed with them.

A mask gives the positions of the new tokens and, for each layer, the attention itself. The one
key/value head of multi-query attention (Shazeer 2019) is never copied per head.

Letters: `b` batch, `n` new tokens, `m` visible tokens, `h` heads, `d` head width.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

MATMUL_TOKENS = 512
"""Up to this many tokens, matrix products in bf16 train faster on a CPU than
`scaled_dot_product_attention`."""


class LayerAttention(Protocol):
    """The attention of one layer under a mask."""

    def __call__(self, queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
        """Attends: (b, h, n, d) queries and (b, 1, n, d) new keys and values -> (b, h, n, d)."""


class AttentionMask(Protocol):
    """The interface of masks: what a decoder needs to know about the new tokens of a pass."""

    def positions(self, states: Tensor) -> Tensor:
        """(n,) or (b, n) absolute positions of the new tokens in `states` (b, n, dim)."""

    def at(self, layer: int) -> LayerAttention:
        """The attention of one layer, counted from 0."""


class UpdatingMask(AttentionMask, Protocol):
    """The interface of masks that attention code of other libraries can use.

    Such code does not call `at`. It asks for all keys and values of a layer and for a boolean mask.
    """

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Takes new keys and values (b, h, n, d) and returns all that are visible, (b, h, m, d)."""

    def mask(self, states: Tensor) -> Tensor:
        """Which keys each new token in `states` (b, n, dim) sees: (b or 1, 1, n, m) bool."""


class CausalMask:
    """A mask under which each token sees itself and the tokens before it."""

    def positions(self, states: Tensor) -> Tensor:
        return torch.arange(states.shape[1], device=states.device)

    def at(self, layer: int) -> LayerAttention:
        return self

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        return keys, values

    def mask(self, states: Tensor) -> Tensor:
        tokens = states.shape[1]
        return torch.ones(1, 1, tokens, tokens, dtype=torch.bool, device=states.device).tril()

    def __call__(self, queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
        if _trains_in_bf16_on_cpu(queries):
            return causal_attention_by_matmul(queries, keys, values, scale)
        heads = queries.shape[1]
        keys, values = (t.expand(-1, heads, -1, -1) for t in (keys, values))
        return F.scaled_dot_product_attention(queries, keys, values, is_causal=True, scale=scale)


class VisibleMask:
    """A mask given as a boolean tensor.

    visible: bool, (b, n, m) or (b, 1, m), true where the query sees the key. A query that sees no key
    gets zeros.
    """

    def __init__(self, visible: Tensor):
        self.visible = rearrange(visible, "b n m -> b 1 n m")

    def positions(self, states: Tensor) -> Tensor:
        return torch.arange(states.shape[1], device=states.device)

    def at(self, layer: int) -> LayerAttention:
        return self

    def __call__(self, queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
        heads = queries.shape[1]
        keys, values = (t.expand(-1, heads, -1, -1) for t in (keys, values))
        return masked_attention(queries, keys, values, self.visible, scale)


def _trains_in_bf16_on_cpu(queries: Tensor) -> bool:
    """Whether a short text is trained in bf16 on a CPU, where plain matrix products are faster."""
    bf16_on_cpu = queries.device.type == "cpu" and queries.dtype == torch.bfloat16
    return bf16_on_cpu and queries.requires_grad and queries.shape[2] <= MATMUL_TOKENS


def causal_attention_by_matmul(queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
    """Causal multi-query attention as two matrix products per row.

    queries: (b, h, n, d). keys, values: (b, 1, n, d), shared by all heads. Returns (b, h, n, d).
    """
    tokens, heads = queries.shape[2], queries.shape[1]
    scores = (queries * scale).flatten(1, 2) @ keys[:, 0].transpose(1, 2)
    later = torch.ones(tokens, tokens, dtype=torch.bool, device=queries.device).triu(1)
    scores = scores.unflatten(1, (heads, tokens)).masked_fill(later, -torch.inf)
    weights = scores.softmax(dim=-1).to(values.dtype).flatten(1, 2)
    return (weights @ values[:, 0]).unflatten(1, (heads, tokens))


def masked_attention(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Masked attention in which a query without a visible key gets exactly zero.

    The softmax over an empty set would be uniform or NaN; Flamingo's text before the first
    picture must not see anything (section 3.1.3).

    Args:
        queries: (b, h, n, d).
        keys, values: (b, h, m, d).
        mask: bool, broadcastable to (b, h, n, m), true where the query sees the key.

    Returns:
        (b, h, n, d).
    """
    has_any_key = mask.any(dim=-1, keepdim=True)
    out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask | ~has_any_key, scale=scale)
    return out * has_any_key.to(out.dtype)


def attention_weights(queries: Tensor, keys: Tensor, mask: Tensor, scale: float) -> Tensor:
    """The weights with which `masked_attention` sums the values: (b, h, n, m).

    Each query's weights sum to 1, or are all 0 if it sees no key.
    """
    has_any_key = mask.any(dim=-1, keepdim=True)
    scores = (queries @ keys.transpose(-1, -2)) * scale
    weights = scores.masked_fill(has_any_key & ~mask, -torch.inf).softmax(dim=-1)
    return weights * has_any_key.to(weights.dtype)
