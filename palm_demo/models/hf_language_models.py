"""Language models of transformers as Flamingo's text tower: their blocks, in our loop, on our cache.

The only file that knows transformers. Of a model it takes the embedding, the blocks and the last norm; what
a block is told of positions is made anew in each pass, for buffers that no file holds would be empty where
a model was made on the meta device, and a cast would round them.

A row's first token stands at the cache's first place, and rows are padded on the right. NeoX turns
queries and keys by those places; MPT's bias (ALiBi, Press et al. 2022) counts from the last place of the
longest row, which adds the same to all scores of a query and so changes no softmax.
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
from palm_demo.models.transformer import CrossAttentionLayer, TransformerConfig

RunBlock = Callable[[nn.Module, Tensor], Tensor]


class Memory:
    """Our cache as transformers' attention takes one: new keys and values go in, all there are come out.

    Its methods admit all that those of transformers' `Cache` do, whose callers hand over more from one
    release to the next.
    """

    def __init__(self, pattern: UpdatingMask):
        self.pattern = pattern

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args, **kwargs
    ) -> tuple[Tensor, Tensor]:
        """(b, h, n, d) keys and values of the new tokens -> (b, h, m, d), of all that any of them may see."""
        return self.pattern.update(layer_idx, key_states, value_states)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0  # what stands before the new tokens; MPT would only cut a longer bias by it


class TransformersTower(nn.Module, ABC):
    """A text tower whose bridges stand before the blocks they belong to, as in OpenFlamingo."""

    def __init__(self, config, embedding: nn.Embedding, blocks: nn.ModuleList, norm: nn.Module):
        """config: transformers' own. A head of its own only where it is not tied to the embedding."""
        super().__init__()
        self.hf_config = config
        dim, heads = config.hidden_size, config.num_attention_heads
        self.config = TransformerConfig(dim, config.num_hidden_layers, heads, config.vocab_size, dim // heads)
        self.embedding, self.blocks, self.norm = embedding, blocks, norm
        self.head = None if config.tie_word_embeddings else Projection(dim, config.vocab_size)

    def forward(
        self,
        states: Tensor,
        pattern: UpdatingMask | None = None,
        cross_attention: Mapping[int, CrossAttentionLayer] | None = None,
    ) -> Tensor:
        """(b, n, dim) embeddings -> (b, n, dim) states after the last block, not normed."""
        pattern, cross_attention = pattern or CausalMask(), cross_attention or {}
        states = states.to(self.embedding.weight.dtype)
        run = self._in_pass(states, pattern)
        for layer, block in enumerate(self.blocks):
            if layer in cross_attention:
                states = cross_attention[layer](states)
            states = run(block, states)
        return states

    @abstractmethod
    def _in_pass(self, states: Tensor, pattern: UpdatingMask) -> RunBlock:
        """How a block is run over these states, with what all blocks of a pass share."""

    def logits(self, states: Tensor) -> Tensor:
        """(..., dim) states of the last block -> (..., vocab)."""
        states = self.norm(states)
        return F.linear(states, self.embedding.weight) if self.head is None else self.head(states)

    def new_cache(self, rows: int, capacity: int) -> KVCache:
        """For so many rows of at most `capacity` tokens, all in use and empty."""
        size = self.config
        return KVCache(size.depth, rows, capacity, size.dim_head, self.embedding.weight, size.heads)


class NeoXTower(TransformersTower):
    """GPT-NeoX (Black et al. 2022), as in RedPajama-INCITE."""

    def __init__(self, config, vocab: int):
        """Raises CheckpointError where its rotary embedding is stretched in any way."""
        kind = config.rope_parameters["rope_type"]
        if kind != "default":
            raise CheckpointError(f"the language model's rotary embedding is {kind!r}; known: 'default'")
        # sdpa's masks say what is seen; eager attention would add them to the scores
        config = changed(config, vocab_size=vocab, _attn_implementation="sdpa")
        model = GPTNeoXModel(config)
        super().__init__(config, model.embed_in, model.layers, model.final_layer_norm)

    def _in_pass(self, states: Tensor, pattern: UpdatingMask) -> RunBlock:
        seen, memory = pattern.seen(states), Memory(pattern)
        rotation = self._rotation(pattern.positions(states), states.dtype)

        def run(block: nn.Module, states: Tensor) -> Tensor:
            return block(states, attention_mask=seen, layer_past=memory, position_embeddings=rotation)

        return run

    def _rotation(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """(n,) or (b, n) -> cosines and sines, (b or 1, n, d)."""
        frequencies, _ = GPTNeoXRotaryEmbedding.compute_default_rope_parameters(
            self.hf_config, positions.device
        )
        positions = positions if positions.ndim == 2 else positions[None]
        angles = positions[..., None].float() * frequencies
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos().to(dtype), angles.sin().to(dtype)


class MptTower(TransformersTower):
    """MPT (MosaicML 2023)."""

    def __init__(self, config, vocab: int):
        """Raises CheckpointError for what transformers' MPT leaves out without a word."""
        attention = config.attn_config
        if attention.qk_ln or not attention.alibi:
            raise CheckpointError(
                "the language model is an MPT with normed queries and keys, or without ALiBi, which "
                "transformers' own MPT does not know; use OpenFlamingo's 4B or 9B"
            )
        config = changed(config, vocab_size=vocab)
        model = MptModel(config)
        super().__init__(config, model.wte, model.blocks, model.norm_f)

    def _in_pass(self, states: Tensor, pattern: UpdatingMask) -> RunBlock:
        seen, memory = pattern.seen(states), Memory(pattern)
        bias = build_mpt_alibi_tensor(self.config.heads, seen.shape[-1], device=states.device)

        def run(block: nn.Module, states: Tensor) -> Tensor:
            states, _ = block(states, position_bias=bias, attention_mask=~seen, layer_past=memory)
            return states

        return run


def changed(config, **values):
    """A copy of a config, of which the caller's stays as it was."""
    config = copy.deepcopy(config)
    for name, value in values.items():
        setattr(config, name, value)
    return config


TOWERS: dict[str, Callable[..., TransformersTower]] = {"gpt_neox": NeoXTower, "mpt": MptTower}
"""By what transformers calls the kind of model: (config, rows of the embedding) -> a random one."""

CONFIGS = {"gpt_neox": GPTNeoXConfig, "mpt": MptConfig}
"""By the same names, what describes one."""
