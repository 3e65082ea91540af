"""The parallel transformer that PaLM, Flamingo and MaMMUT share (PaLM, section 2)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from palm_demo.models.attention import AttentionMask, CausalMask, LayerAttention, UpdatingMask
from palm_demo.models.cpu_linear import Projection
from palm_demo.models.kv_cache import KVCache
from palm_demo.models.layers import Rotation, Style, TiedHead
from palm_demo.models.lora import LayerAdapter

CrossAttentionLayer = Callable[[Tensor], Tensor]
"""States (b, n, dim) -> states: what a multimodal model puts after a block."""


@dataclass(frozen=True)
class TransformerConfig:
    """The numbers of a decoder; its parts are a `Style`."""

    dim: int
    depth: int
    heads: int
    vocab: int
    dim_head: int = 64
    ff_mult: int = 4

    def as_config(self) -> dict[str, int]:
        return asdict(self)


class ParallelBlock(nn.Module):
    """Attention and feed-forward side by side behind one norm and one fused projection."""

    def __init__(self, size: TransformerConfig, style: Style):
        super().__init__()
        self.heads = size.heads
        self.norm = style.norm(size.dim)
        self.qk = style.qk(size.dim_head)
        self.activation = style.activation()
        attention_width, ff_width = size.heads * size.dim_head, size.dim * size.ff_mult
        self.inputs = (attention_width, size.dim_head, size.dim_head)
        self.ff_width = ff_width * self.activation.inner_widths
        self.fused = Projection(size.dim, sum(self.inputs) + self.ff_width)
        self.attention_out = Projection(attention_width, size.dim)
        self.ff_out = Projection(ff_width, size.dim)

    def forward(
        self,
        states: Tensor,
        rotation: Rotation,
        attend: LayerAttention,
        adapter: LayerAdapter | None,
    ) -> Tensor:
        """(b, n, dim) -> what the block adds to it, (b, n, dim)."""
        normed = self.norm(states)
        inputs, ff = self.fused(normed).split((sum(self.inputs), self.ff_width), dim=-1)
        if adapter is not None:
            inputs = inputs + adapter.inputs(normed)
        queries, keys, values = inputs.split(self.inputs, dim=-1)
        # plain views, (b, n, h d) -> (b, h, n, d): a step of decoding is too short for einops
        queries = queries.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        queries, keys = rotation(*self.qk(queries, keys[:, None]))
        attn_out = attend(queries, keys.to(values.dtype), values[:, None], self.qk.softmax_scale)
        attn_out = attn_out.transpose(1, 2).flatten(2)
        out = self.attention_out(attn_out) + self.ff_out(self.activation(ff))
        return out if adapter is None else out + adapter.out(attn_out)


class Decoder(nn.Module):
    """Embedding, parallel blocks, final norm and head, in the parts of a style."""

    def __init__(self, size: TransformerConfig, style: Style):
        super().__init__()
        self.config = size
        self.style = style
        self.embedding = nn.Embedding(size.vocab, size.dim)
        self.rotary = style.rotary(size.dim_head)
        self.blocks = nn.ModuleList(ParallelBlock(size, style) for _ in range(size.depth))
        self.norm = style.norm(size.dim)
        self.head = style.head(self.embedding)

    def forward(
        self,
        states: Tensor,
        pattern: AttentionMask | None = None,
        cross_attention: Mapping[int, CrossAttentionLayer] | None = None,
        adapters: Sequence[LayerAdapter] | None = None,
    ) -> Tensor:
        """(b, n, dim) token embeddings -> (b, n, dim) states after the last block, not normed.

        pattern: who sees whom; causal by default. bridges: what to run after which block.
        adapters: one per block. States are summed in fp32 at least: in bf16, what one block adds
        to a large sum would be lost, and company would change a text.
        """
        states = states.to(torch.promote_types(states.dtype, torch.float32))
        pattern, cross_attention = pattern or CausalMask(), cross_attention or {}
        rotation = self.rotary(pattern.positions(states))
        for layer, block in enumerate(self.blocks):
            adapter = adapters[layer] if adapters is not None else None
            states = states + block(states, rotation, pattern.at(layer), adapter)
            if layer in cross_attention:
                states = cross_attention[layer](states)
        return states

    def new_cache(self, rows: int, capacity: int) -> KVCache:
        """For so many rows of at most `capacity` tokens, all in use and empty."""
        size = self.config
        return KVCache(size.depth, rows, capacity, size.dim_head, self.embedding.weight)

    def pack_(self) -> None:
        """Packs the head, where it is the embedding; see `projection.pack_`."""
        if isinstance(self.head, TiedHead):
            self.head.pack_embedding_(self.embedding)

    def logits(self, states: Tensor) -> Tensor:
        """(..., dim) states of the last block -> (..., vocab)."""
        return self.head(self.norm(states), self.embedding)


class LMBackbone(Protocol):
    """Ids are embedded by `embedding`, run through blocks with bridges among them, and read by `logits`."""

    size: TransformerConfig
    embedding: nn.Embedding
    norm: nn.Module

    def __call__(
        self, states: Tensor, pattern: UpdatingMask, cross_attention: Mapping[int, CrossAttentionLayer]
    ) -> Tensor:
        """(b, n, dim) embeddings -> (b, n, dim) states after the last block, not normed.

        bridges: what to run at which block. Whether that is before or after the block is the tower's
        to say: the bridges' weights were trained in one of the two places.
        """

    def logits(self, states: Tensor) -> Tensor:
        """(..., dim) states of the last block -> (..., vocab)."""

    def new_cache(self, rows: int, capacity: int) -> KVCache:
        """For so many rows of at most `capacity` tokens, all in use and empty."""

    def requires_grad_(self, requires_grad: bool) -> object: ...
