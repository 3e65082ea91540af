"""CLIP's transformer block (Radford et al. 2021), for text that is written token by token.

Attention, then feed-forward, each behind a norm, with biases. open_clip's own forward reads a whole
text at once; these functions run the same weights over what a cache holds. States are summed in fp32
at least, as in our own decoder.
"""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from palm_demo.attention import LayerAttention
from palm_demo.internals.open_clip_parts import ResidualAttentionBlock

__all__ = ["ResidualAttentionBlock", "keys_values", "look", "normed", "think"]


def normed(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """Layer norm in the precision of x; the result is of the norm's own dtype."""
    gain, bias = norm.weight.to(x.dtype), norm.bias.to(x.dtype)
    return F.layer_norm(x, norm.normalized_shape, gain, bias, norm.eps).to(norm.weight.dtype)


def think(block: ResidualAttentionBlock, states: Tensor, attend: LayerAttention) -> Tensor:
    """Self-attention and feed-forward: (b, n, dim) -> (b, n, dim)."""
    weights = block.attn
    inputs = F.linear(normed(block.ln_1, states), weights.in_proj_weight, weights.in_proj_bias)
    queries, keys, values = (_heads(part, weights.num_heads) for part in inputs.chunk(3, dim=-1))
    return _after(block, states, attend(queries, keys, values, weights.head_dim**-0.5))


def keys_values(block: ResidualAttentionBlock, memory: Tensor) -> tuple[Tensor, Tensor]:
    """What a cross-attention block makes of (b, m, dim) to look at: (b, h, m, d) twice, once per request."""
    weights, dim = block.attn, block.attn.embed_dim
    inputs = F.linear(normed(block.ln_1_kv, memory), weights.in_proj_weight[dim:], weights.in_proj_bias[dim:])
    keys, values = (_heads(part, weights.num_heads) for part in inputs.chunk(2, dim=-1))
    return keys, values


def look(block: ResidualAttentionBlock, states: Tensor, seen: tuple[Tensor, Tensor]) -> Tensor:
    """Cross-attention to all of `seen`, then feed-forward: (b, n, dim) -> (b, n, dim)."""
    weights, dim = block.attn, block.attn.embed_dim
    queries = F.linear(normed(block.ln_1, states), weights.in_proj_weight[:dim], weights.in_proj_bias[:dim])
    heard = F.scaled_dot_product_attention(_heads(queries, weights.num_heads), *seen)
    return _after(block, states, heard)


def _after(block: ResidualAttentionBlock, states: Tensor, heard: Tensor) -> Tensor:
    states = states + block.attn.out_proj(rearrange(heard, "b h n d -> b n (h d)"))
    return states + block.mlp(normed(block.ln_2, states))


def _heads(x: Tensor, heads: int) -> Tensor:
    return rearrange(x, "b n (h d) -> b h n d", h=heads)
