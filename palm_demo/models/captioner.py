"""The base of captioners on CLIP's blocks (CoCa, openMaMMUT): a CLIP tower and a text decoder with a
cache.

A CLIP block is attention, then feed-forward, each behind a norm, with biases. open_clip's own forward
reads a whole text at once; the functions here run the same weights with a KV cache. States are summed
in fp32 at least, as in our own decoder.

Letters: `b` batch, `n` new tokens, `m` picture tokens, `h` heads, `d` head width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from palm_demo.errors import PromptError
from palm_demo.models.attention import AttentionMask, CausalMask, LayerAttention
from palm_demo.models.cross_attention import KeysValues
from palm_demo.models.kv_cache import ContextCache, KVCache
from palm_demo.models.mammut import LARGEST_SCALE, ImageFeatures, MaMMUTCache
from palm_demo.models.transformer import IncrementalDecoder, TransformerConfig
from palm_demo.models.vision import VisionTower

if TYPE_CHECKING:
    from palm_demo.internals.open_clip_parts import ResidualAttentionBlock


class Captioner(IncrementalDecoder):
    """Image and text embeddings in one space, and captions, with the interface of `MaMMUT`.

    Texts are tokenized by `ClipTokenizer`.

    Attributes:
        config: of the text decoder.
        logit_scale: the logarithm of the factor on cosines.
        min_tokens: fewest tokens of a caption before it may end, its start token included.
    """

    min_tokens = 0

    config: TransformerConfig
    logit_scale: Tensor

    def __init__(self, tower: VisionTower):
        super().__init__()
        self.tower = tower

    @property
    @abstractmethod
    def text_decoder_stack(self) -> TextDecoderStack:
        """The blocks that write captions."""

    @property
    @abstractmethod
    def dim_latents(self) -> int:
        """Width of image and text embeddings."""

    @abstractmethod
    def encode_images(self, pixels: Tensor) -> ImageFeatures:
        """(b, 3, size, size) normalised pixels -> embeddings and caption memory."""

    @abstractmethod
    def embed_texts(self, ids: Tensor, real: Tensor) -> Tensor:
        """Texts with start and end tokens -> unit embeddings (b, dim_latents).

        ids: (b, n). real: bool (b, n), false for padding. Raises PromptError where a text is too long.
        """

    @abstractmethod
    def latent_weights(self) -> Mapping[str, Tensor]:
        """The weights that embeddings depend on, by name."""

    @property
    def context(self) -> int:
        """The most tokens of a text, start and end tokens included."""
        return self.text_decoder_stack.context

    @property
    def scale(self) -> Tensor:
        """The inverse temperature that cosines are multiplied with, at most LARGEST_SCALE."""
        return self.logit_scale.exp().clamp(max=LARGEST_SCALE)

    def forward(self, ids: Tensor, images: Tensor) -> Tensor:
        """(b, n) ids and their pictures (b, 3, size, size) -> (b, n, vocab) logits of a caption."""
        return self.logits(ids, self.encode_images(images).memory)

    def logits(self, ids: Tensor, memory: Tensor) -> Tensor:
        """(b, n) ids, (b, m, dim) caption memory -> (b, n, vocab) logits."""
        stack = self.text_decoder_stack
        return stack.logits(stack.states(ids, CausalMask(), stack.keys_values(memory)))

    def prefill(
        self, ids: Tensor, lengths: Sequence[int], capacity: int, memory: Tensor
    ) -> tuple[Tensor, MaMMUTCache]:
        """Reads prompts. Returns the logits of what comes next, (b, vocab), and the cache.

        Args:
            ids: (b, n), padded on the right.
            lengths: real tokens of each row.
            capacity: tokens that a row can grow to, at most the context.
            memory: (b, m, dim), the pictures' caption memory.
        """
        pictures = ContextCache(self.text_decoder_stack.keys_values(memory), [memory.shape[1]] * len(ids))
        cache = MaMMUTCache(self._new_kv_cache(len(ids), capacity), pictures)
        return self._prefill(ids, lengths, cache), cache

    def new_cache(self, rows: int, capacity: int) -> MaMMUTCache:
        """A cache for a continuous batch, with room for `rows` rows of `capacity` tokens, none in use
        yet."""
        tokens = self._new_kv_cache(rows, capacity)
        tokens.clear()
        no_memory = tokens.keys.new_zeros(rows, 0, self.config.dim)
        return MaMMUTCache(tokens, ContextCache(self.text_decoder_stack.keys_values(no_memory), []))

    def _new_kv_cache(self, rows: int, capacity: int) -> KVCache:
        """A cache no longer than the context, so that it refuses texts that the model cannot read."""
        config, weight = self.config, self.text_decoder_stack.embeddings.token_embedding.weight
        room = min(capacity, self.context)
        return KVCache(config.depth, rows, room, config.dim_head, weight, heads=config.heads)

    def _run_cached(self, ids: Tensor, cache: MaMMUTCache) -> Tensor:
        mask = cache.tokens.extend_by(ids.shape[1])
        return self.text_decoder_stack.states(ids, mask, cache.pictures.by_layer())

    def _logits_of(self, states: Tensor) -> Tensor:
        return self.text_decoder_stack.logits(states)

    def _pad_to_context(self, ids: Tensor, real: Tensor) -> Tensor:
        """Pads (b, n) ids to (b, context) with zeros, the length that these towers were trained with."""
        if (longest := int(real.sum(dim=1).max())) > self.context:
            raise PromptError(
                f"a text has {longest} tokens with its marks, and this model reads {self.context}; shorten it"
            )
        padded = ids.new_zeros(len(ids), self.context)
        shared = min(ids.shape[1], self.context)
        padded[:, :shared] = ids.masked_fill(~real, 0)[:, :shared]
        return padded


@dataclass
class TextDecoderStack:
    """A text decoder of CLIP blocks, as a view of modules that belong to a `Captioner`.

    Attributes:
        embeddings: has `token_embedding` and `positional_embedding`.
        blocks: the self-attention blocks.
        cross_blocks: by layer, the cross-attention block after it.
        head: has `ln_final` and `text_projection`, (dim, vocab).
        context: the number of positions.
    """

    embeddings: nn.Module
    blocks: Sequence[ResidualAttentionBlock]
    cross_blocks: Mapping[int, ResidualAttentionBlock]
    head: nn.Module
    context: int

    def states(self, ids: Tensor, mask: AttentionMask, pictures: Mapping[int, KeysValues]) -> Tensor:
        """(b, n) ids -> (b, n, dim) states after the last block, before the final norm.

        pictures: the pictures' keys and values for each layer of `cross_blocks`; {} for text alone.
        """
        states = self.embeddings.token_embedding(ids)
        states = states.to(torch.promote_types(states.dtype, torch.float32))
        states = states + self.embeddings.positional_embedding[mask.positions(states)]
        for layer, block in enumerate(self.blocks):
            states = run_self_attention_block(block, states, mask.at(layer))
            if layer in pictures:
                states = run_cross_attention_block(self.cross_blocks[layer], states, pictures[layer])
        return states

    def normed(self, states: Tensor) -> Tensor:
        """Applies the final norm."""
        return layer_norm(self.head.ln_final, states)

    def logits(self, states: Tensor) -> Tensor:
        """(..., dim) states of the last block -> (..., vocab) logits."""
        return self.normed(states) @ self.head.text_projection

    def keys_values(self, memory: Tensor) -> dict[int, KeysValues]:
        """Keys and values of (b, m, dim) caption memory, by layer of `cross_blocks`."""
        return {layer: project_keys_values(block, memory) for layer, block in self.cross_blocks.items()}


def layer_norm(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """Layer norm, computed in the precision of x. The result has the dtype of the norm's weights."""
    gain, bias = norm.weight.to(x.dtype), norm.bias.to(x.dtype)
    return F.layer_norm(x, norm.normalized_shape, gain, bias, norm.eps).to(norm.weight.dtype)


def run_self_attention_block(block: ResidualAttentionBlock, states: Tensor, attend: LayerAttention) -> Tensor:
    """Runs self-attention and feed-forward of a CLIP block: (b, n, dim) -> (b, n, dim)."""
    weights = block.attn
    inputs = F.linear(layer_norm(block.ln_1, states), weights.in_proj_weight, weights.in_proj_bias)
    queries, keys, values = (_split_heads(part, weights.num_heads) for part in inputs.chunk(3, dim=-1))
    return _add_output(block, states, attend(queries, keys, values, weights.head_dim**-0.5))


def project_keys_values(block: ResidualAttentionBlock, memory: Tensor) -> KeysValues:
    """A cross-attention block's keys and values of (b, m, dim) caption memory."""
    weights, dim = block.attn, block.attn.embed_dim
    inputs = layer_norm(block.ln_1_kv, memory)
    inputs = F.linear(inputs, weights.in_proj_weight[dim:], weights.in_proj_bias[dim:])
    keys, values = (_split_heads(part, weights.num_heads) for part in inputs.chunk(2, dim=-1))
    return keys, values


def run_cross_attention_block(
    block: ResidualAttentionBlock, states: Tensor, keys_values: KeysValues
) -> Tensor:
    """Runs cross-attention to a whole picture, then feed-forward: (b, n, dim) -> (b, n, dim)."""
    weights, dim = block.attn, block.attn.embed_dim
    inputs = layer_norm(block.ln_1, states)
    queries = F.linear(inputs, weights.in_proj_weight[:dim], weights.in_proj_bias[:dim])
    queries = _split_heads(queries, weights.num_heads)
    return _add_output(block, states, F.scaled_dot_product_attention(queries, *keys_values))


def _add_output(block: ResidualAttentionBlock, states: Tensor, attn_out: Tensor) -> Tensor:
    """Adds the projected attention output (b, h, n, d) to the states, then the feed-forward."""
    states = states + block.attn.out_proj(rearrange(attn_out, "b h n d -> b n (h d)"))
    return states + block.mlp(layer_norm(block.ln_2, states))


def _split_heads(x: Tensor, heads: int) -> Tensor:
    return rearrange(x, "b n (h d) -> b h n d", h=heads)
