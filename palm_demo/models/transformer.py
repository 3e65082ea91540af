"""The parallel transformer that PaLM, Flamingo and MaMMUT share (PaLM, section 2), and its decoding
steps.

`TransformerConfig` has the numbers, a `Style` the layers. `Decoder` runs the blocks.
`IncrementalDecoder` is the base of the models that write text: prompts are read into a cache once,
then each step takes one token.

Letters: `b` batch, `n` new tokens, `h` heads, `d` head width.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from palm_demo.models.attention import AttentionMask, CausalMask, LayerAttention, UpdatingMask
from palm_demo.models.cpu_linear import Projection
from palm_demo.models.kv_cache import KVCache
from palm_demo.models.layers import Rotation, Style, TiedHead
from palm_demo.models.lora import LayerAdapter
from palm_demo.models.side_by_side import CrossAttentionLayer, Pass, side_by_side


@dataclass(frozen=True)
class TransformerConfig:
    """The numbers of a decoder. Its layers are a `Style`.

    Attributes:
        dim: width of the states.
        depth: number of blocks.
        heads: query heads of a block.
        vocab: rows of the embedding.
        dim_head: width of a head.
        ff_mult: inner width of the feed-forward, as a multiple of `dim`.
    """

    dim: int
    depth: int
    heads: int
    vocab: int
    dim_head: int = 64
    ff_mult: int = 4


class ParallelBlock(nn.Module):
    """Attention and feed-forward side by side behind one norm and one fused projection (PaLM, section 2)."""

    def __init__(self, config: TransformerConfig, style: Style):
        super().__init__()
        self.heads = config.heads
        self.norm = style.norm(config.dim)
        self.qk = style.qk(config.dim_head)
        self.activation = style.activation()
        attention_width, ff_width = config.heads * config.dim_head, config.dim * config.ff_mult
        self.inputs = (attention_width, config.dim_head, config.dim_head)
        self.ff_width = ff_width * self.activation.inner_widths
        self._qk_width, self._split = attention_width + config.dim_head, (sum(self.inputs), self.ff_width)
        self.fused = Projection(config.dim, sum(self.inputs) + self.ff_width)
        self.attention_out = Projection(attention_width, config.dim)
        self.ff_out = Projection(ff_width, config.dim)

    def forward(
        self,
        states: Tensor,
        rotation: Rotation,
        attend: LayerAttention,
        adapter: LayerAdapter | None,
    ) -> Tensor:
        """The update that the block adds to the states: (b, n, dim) -> (b, n, dim)."""
        normed = self.norm(states)
        inputs, ff = self.fused(normed).split(self._split, dim=-1)
        if adapter is not None:
            inputs = inputs + adapter.inputs(normed)
        # plain views: a step of decoding is too short for einops
        qk, values = inputs.tensor_split((self._qk_width,), dim=-1)
        qk = rotation(self.qk(qk.view(*qk.shape[:-1], self.heads + 1, -1))).transpose(1, 2)
        queries, keys = qk.tensor_split((self.heads,), dim=1)
        attn_out = attend(queries, keys.to(values.dtype), values[:, None], self.qk.softmax_scale)
        attn_out = attn_out.transpose(1, 2).flatten(2)
        out = self.attention_out(attn_out) + self.ff_out(self.activation(ff))
        return out if adapter is None else out + adapter.out(attn_out)


class Decoder(nn.Module):
    """Embedding, parallel blocks, final norm and head, with the layers of a style."""

    def __init__(self, config: TransformerConfig, style: Style):
        super().__init__()
        self.config = config
        self.style = style
        self.embedding = nn.Embedding(config.vocab, config.dim)
        self.rotary = style.rotary(config.dim_head)
        self.blocks = nn.ModuleList(ParallelBlock(config, style) for _ in range(config.depth))
        self.norm = style.norm(config.dim)
        self.head = style.head(self.embedding)

    def forward(
        self,
        states: Tensor,
        mask: AttentionMask | None = None,
        cross_attention: Mapping[int, CrossAttentionLayer] | None = None,
        adapters: Sequence[LayerAdapter] | None = None,
    ) -> Tensor:
        """Runs the blocks: (b, n, dim) token embeddings -> (b, n, dim) states, before the final norm.

        States are summed in fp32 at least. In bf16, what one block adds to a large sum would be lost,
        and the rounding would depend on the batch, so that a text could change with the other rows.

        Args:
            states: (b, n, dim) token embeddings.
            mask: which tokens see which; causal by default.
            cross_attention: by block, the layer that runs after it.
            adapters: LoRA updates, one per block.
        """
        states = states.to(torch.promote_types(states.dtype, torch.float32))
        mask, cross_attention = mask or CausalMask(), cross_attention or {}
        rotation = self.rotary(mask.positions(states), self.config.heads)
        for layer, block in enumerate(self.blocks):
            adapter = adapters[layer] if adapters is not None else None
            states = states + block(states, rotation, mask.at(layer), adapter)
            if layer in cross_attention:
                states = cross_attention[layer](states)
        return states

    def new_cache(self, rows: int, capacity: int) -> KVCache:
        """A cache for `rows` rows of at most `capacity` tokens, all in use and empty."""
        config = self.config
        return KVCache(config.depth, rows, capacity, config.dim_head, self.embedding.weight)

    def pack_(self, in_8_bits: bool = False) -> None:
        """Packs the head's weight if it is the embedding; see `palm_demo.models.cpu_linear`."""
        if isinstance(self.head, TiedHead):
            self.head.pack_embedding_(self.embedding, in_8_bits)

    def logits(self, states: Tensor) -> Tensor:
        """(..., dim) states of the last block -> (..., vocab) logits."""
        return self.head(self.norm(states), self.embedding)


class LMBackbone(Protocol):
    """The interface of language models that Flamingo can build on: `Decoder`, or one of
    `hf_language_models`.

    Ids are embedded by `embedding`, run through blocks with cross-attention between them, and turned
    into logits by `logits`.
    """

    config: TransformerConfig
    embedding: nn.Embedding
    norm: nn.Module

    def __call__(
        self, states: Tensor, mask: UpdatingMask, cross_attention: Mapping[int, CrossAttentionLayer]
    ) -> Tensor:
        """Runs the blocks: (b, n, dim) embeddings -> (b, n, dim) states before the final norm.

        cross_attention: by block, the layer that runs with it. Whether it runs before or after the
        block is the backbone's choice, because its weights were trained in one of the two places.
        """

    def logits(self, states: Tensor) -> Tensor:
        """(..., dim) states of the last block -> (..., vocab) logits."""

    def new_cache(self, rows: int, capacity: int) -> KVCache:
        """A cache for `rows` rows of at most `capacity` tokens, all in use and empty."""

    def requires_grad_(self, requires_grad: bool) -> object: ...


class IncrementalDecoder(nn.Module, ABC):
    """The base of the models that write text token by token from a cache.

    A subclass says how a cache is made and how new tokens run through its blocks. Reading prompts and
    taking steps is the same for all. Every cache has the text's `KVCache` as `tokens`.
    """

    @abstractmethod
    def new_cache(self, rows: int, capacity: int) -> Any:
        """A cache for a continuous batch, with room for `rows` rows of `capacity` tokens, none in use
        yet."""

    @abstractmethod
    def _run_cached(self, ids: Tensor, cache: Any) -> Tensor:
        """Runs new ids (b, n) through the blocks: (b, n, dim) states. Keys and values go into the cache."""

    @abstractmethod
    def _logits_of(self, states: Tensor) -> Tensor:
        """(b, dim) states of the last block -> (b, vocab) logits."""

    @torch.no_grad()
    def _prefill(self, ids: Tensor, lengths: Sequence[int], cache: Any) -> Tensor:
        """Reads prompts into an empty cache: (b, n) ids padded on the right -> (b, vocab) next logits."""
        states = self._run_cached(ids, cache)
        cache.tokens.advance(list(lengths))
        return self._logits_of(last_states(states, lengths))

    @torch.no_grad()
    def decode_step(self, ids: Tensor, cache: Any) -> Tensor:
        """Reads one more id per row: (b,) ids -> (b, vocab) logits of the next. The cache advances."""
        states = self._run_cached(ids[:, None], cache)
        cache.tokens.advance([1] * len(ids))
        return self._logits_of(states[:, -1])


class BesideDecoder(IncrementalDecoder):
    """The base of models that can read prompts in pieces beside running texts, if they use our own
    `Decoder`.

    A subclass makes an empty cache for prompts in a `begin` of its own.
    """

    decoder: Any

    @property
    def reads_beside(self) -> bool:
        """Whether `step_beside` can be called."""
        return True

    @abstractmethod
    def _pass(self, ids: Tensor, cache: Any) -> Pass:
        """The pass of (b, n) new ids of each row."""

    def _run_cached(self, ids: Tensor, cache: Any) -> Tensor:
        one = self._pass(ids, cache)
        return self.decoder(one.states, one.mask, one.cross_attention, one.adapters)

    @torch.no_grad()
    def step_beside(self, ids: Tensor, cache: Any, pieces: Sequence[tuple[Tensor, Any]]) -> Tensor:
        """Reads one more id of each row, and pieces of prompts beside them, in one pass through the
        weights.

        Args:
            ids: (b,), one for each row of the cache; none if no text is running.
            cache: the rows' cache.
            pieces: the next ids of a prompt, (n,) each, with the cache of one row that has those
                before.

        Returns:
            (b + pieces, vocab) logits of what comes after the last id of each.
        """
        read = [(piece[None], own) for piece, own in pieces]
        if len(ids):
            read.insert(0, (ids[:, None], cache))
        one = side_by_side([self._pass(*part) for part in read])
        states = self.decoder(one.states, one.mask, one.cross_attention, one.adapters)[0]
        for new, own in read:
            own.tokens.advance([new.shape[1]] * len(new))
        sizes = [1] * len(ids) + [len(piece) for piece, _ in pieces]
        return self._logits_of(states[torch.tensor(sizes, device=states.device).cumsum(0) - 1])


def last_states(states: Tensor, lengths: Sequence[int]) -> Tensor:
    """The state of each row's last real token: (b, n, dim) -> (b, dim)."""
    rows = torch.arange(len(states), device=states.device)
    return states[rows, torch.tensor(lengths, device=states.device) - 1]
