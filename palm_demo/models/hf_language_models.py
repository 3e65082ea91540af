"""Language models of transformers as Flamingo's backbone: their blocks, run by our loop with our cache.

This is the only file that knows transformers. It takes a model's embedding, blocks and last norm.
Position embeddings are computed in each pass, because transformers keeps them in buffers that no file
stores: they would be empty in a model made on the meta device, and a cast would round them.

A row's first token stands at the cache's first position, and rows are padded on the right. GPT-NeoX
turns queries and keys by these positions. MPT's bias (ALiBi, Press et al. 2022) counts from the last
position of the longest row, which adds the same to all scores of a query and so does not change the
softmax.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GPTNeoXConfig, MptConfig
from transformers.models.gpt_neox.modeling_gpt_neox import GPTNeoXModel, GPTNeoXRotaryEmbedding
from transformers.models.mpt.modeling_mpt import MptModel, build_mpt_alibi_tensor

from palm_demo.errors import CheckpointError
from palm_demo.models.attention import CausalMask, UpdatingMask
from palm_demo.models.cpu_linear import Projection
from palm_demo.models.kv_cache import KVCache
from palm_demo.models.side_by_side import CrossAttentionLayer
from palm_demo.models.transformer import TransformerConfig

RunBlock = Callable[[nn.Module, Tensor], Tensor]


class CacheAdapter:
    """Our cache with the interface of transformers' `Cache`: new keys and values go in, all visible ones
    come out.

    `update` accepts further arguments, because transformers' callers pass more from one release to the
    next.
    """

    def __init__(self, mask: UpdatingMask):
        self.mask = mask

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args, **kwargs
    ) -> tuple[Tensor, Tensor]:
        """Takes new keys and values (b, h, n, d) and returns all that are visible, (b, h, m, d)."""
        return self.mask.update(layer_idx, key_states, value_states)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0  # tokens before the new ones; MPT would only use it to cut a longer bias


class HFLanguageModel(nn.Module, ABC):
    """A language model of transformers, with cross-attention before its blocks, as in OpenFlamingo."""

    def __init__(self, config, embedding: nn.Embedding, blocks: nn.ModuleList, norm: nn.Module):
        """Takes over a model's embedding, blocks and last norm.

        config: of transformers. The head is a projection unless it is tied to the embedding.
        """
        super().__init__()
        self.hf_config = config
        dim, heads = config.hidden_size, config.num_attention_heads
        self.config = TransformerConfig(dim, config.num_hidden_layers, heads, config.vocab_size, dim // heads)
        self.embedding, self.blocks, self.norm = embedding, blocks, norm
        self.head = None if config.tie_word_embeddings else Projection(dim, config.vocab_size)

    def forward(
        self,
        states: Tensor,
        mask: UpdatingMask | None = None,
        cross_attention: Mapping[int, CrossAttentionLayer] | None = None,
    ) -> Tensor:
        """Runs the blocks: (b, n, dim) embeddings -> (b, n, dim) states before the final norm."""
        mask, cross_attention = mask or CausalMask(), cross_attention or {}
        states = states.to(self.embedding.weight.dtype)
        run = self._block_runner(states, mask)
        for layer, block in enumerate(self.blocks):
            if layer in cross_attention:
                states = cross_attention[layer](states)
            states = run(block, states)
        return states

    @abstractmethod
    def _block_runner(self, states: Tensor, mask: UpdatingMask) -> RunBlock:
        """A function that runs one block, with the mask and positions that all blocks of a pass share."""

    def logits(self, states: Tensor) -> Tensor:
        """(..., dim) states of the last block -> (..., vocab) logits."""
        states = self.norm(states)
        return F.linear(states, self.embedding.weight) if self.head is None else self.head(states)

    def new_cache(self, rows: int, capacity: int) -> KVCache:
        """A cache for `rows` rows of at most `capacity` tokens, all in use and empty."""
        config = self.config
        return KVCache(config.depth, rows, capacity, config.dim_head, self.embedding.weight, config.heads)


class GPTNeoXBackbone(HFLanguageModel):
    """GPT-NeoX (Black et al. 2022), the architecture of RedPajama-INCITE."""

    def __init__(self, config, vocab: int):
        """Raises CheckpointError where the config scales the rotary embedding in any way."""
        kind = config.rope_parameters["rope_type"]
        if kind != "default":
            raise CheckpointError(f"the language model's rotary embedding is {kind!r}; known: 'default'")
        # boolean masks are for sdpa; eager attention would add them to the scores
        config = copy_with(config, vocab_size=vocab, _attn_implementation="sdpa")
        model = GPTNeoXModel(config)
        super().__init__(config, model.embed_in, model.layers, model.final_layer_norm)

    def _block_runner(self, states: Tensor, mask: UpdatingMask) -> RunBlock:
        visible, cache = mask.mask(states), CacheAdapter(mask)
        rotation = self._rotation(mask.positions(states), states.dtype)

        def run(block: nn.Module, states: Tensor) -> Tensor:
            return block(states, attention_mask=visible, layer_past=cache, position_embeddings=rotation)

        return run

    def _rotation(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosines and sines, (b or 1, n, d), of positions (n,) or (b, n)."""
        frequencies, _ = GPTNeoXRotaryEmbedding.compute_default_rope_parameters(
            self.hf_config, positions.device
        )
        positions = positions if positions.ndim == 2 else positions[None]
        angles = positions[..., None].float() * frequencies
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos().to(dtype), angles.sin().to(dtype)


class MPTBackbone(HFLanguageModel):
    """MPT (MosaicML 2023)."""

    def __init__(self, config, vocab: int):
        """Raises CheckpointError for settings that transformers' MPT silently ignores."""
        attention = config.attn_config
        if attention.qk_ln or not attention.alibi:
            raise CheckpointError(
                "the language model is an MPT with normed queries and keys, or without ALiBi, which "
                "transformers' own MPT does not know; use OpenFlamingo's 4B or 9B"
            )
        config = copy_with(config, vocab_size=vocab)
        model = MptModel(config)
        super().__init__(config, model.wte, model.blocks, model.norm_f)

    def _block_runner(self, states: Tensor, mask: UpdatingMask) -> RunBlock:
        visible, cache = mask.mask(states), CacheAdapter(mask)
        bias = build_mpt_alibi_tensor(self.config.heads, visible.shape[-1], device=states.device)

        def run(block: nn.Module, states: Tensor) -> Tensor:
            states, _ = block(states, position_bias=bias, attention_mask=~visible, layer_past=cache)
            return states

        return run


def copy_with(config, **values):
    """A copy of a config with some values changed."""
    config = copy.deepcopy(config)
    for name, value in values.items():
        setattr(config, name, value)
    return config


BACKBONES: dict[str, Callable[..., HFLanguageModel]] = {"gpt_neox": GPTNeoXBackbone, "mpt": MPTBackbone}
"""Builds a random model by transformers' name of the architecture: (config, rows of the embedding) ->
model."""

CONFIGS = {"gpt_neox": GPTNeoXConfig, "mpt": MptConfig}
"""The config class by transformers' name of the architecture."""
