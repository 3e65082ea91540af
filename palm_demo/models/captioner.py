"""What openMaMMUT and CoCa share: a CLIP tower, and a text decoder on CLIP's blocks, token by token.

Attention, then feed-forward, each behind a norm, with biases. open_clip's own forward reads a whole
text at once; these functions run the same weights over what a cache holds. States are summed in fp32
at least, as in our own decoder.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from palm_demo.errors import PromptError
from palm_demo.internals.open_clip_parts import ResidualAttentionBlock
from palm_demo.models.attention import AttentionMask, CausalMask, LayerAttention
from palm_demo.models.cross_attention import KeysValues
from palm_demo.models.kv_cache import ContextCache, KVCache
from palm_demo.models.mammut import LARGEST_SCALE, ImageFeatures, MaMMUTCache
from palm_demo.models.palm import last_states
from palm_demo.models.transformer import TransformerConfig
from palm_demo.models.vision import VisionTower

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
    attn_out = F.scaled_dot_product_attention(_heads(queries, weights.num_heads), *seen)
    return _after(block, states, attn_out)


def _after(block: ResidualAttentionBlock, states: Tensor, attn_out: Tensor) -> Tensor:
    states = states + block.attn.out_proj(rearrange(attn_out, "b h n d -> b n (h d)"))
    return states + block.mlp(normed(block.ln_2, states))


def _heads(x: Tensor, heads: int) -> Tensor:
    return rearrange(x, "b n (h d) -> b h n d", h=heads)


@dataclass
class Stack:
    """A decoder of CLIP's blocks, which belong to whoever made it.

    words: has `token_embedding` and `positional_embedding`. looks: by layer, the cross-attention after
    it. head: has `ln_final` and `text_projection`, (dim, vocab). context: the tokens it has places for.
    """

    words: nn.Module
    blocks: Sequence[ResidualAttentionBlock]
    looks: Mapping[int, ResidualAttentionBlock]
    head: nn.Module
    context: int

    def states(self, ids: Tensor, pattern: AttentionMask, seen: Mapping[int, KeysValues]) -> Tensor:
        """(b, n) ids -> (b, n, dim) states after the last block, not normed. seen: what each layer of
        `looks` looks at; {} for words alone."""
        states = self.words.token_embedding(ids)
        states = states.to(torch.promote_types(states.dtype, torch.float32))
        states = states + self.words.positional_embedding[pattern.positions(states)]
        for layer, block in enumerate(self.blocks):
            states = think(block, states, pattern.at(layer))
            if layer in seen:
                states = look(self.looks[layer], states, seen[layer])
        return states

    def normed(self, states: Tensor) -> Tensor:
        return normed(self.head.ln_final, states)

    def logits(self, states: Tensor) -> Tensor:
        """(..., dim) -> (..., vocab)."""
        return self.normed(states) @ self.head.text_projection

    def keys_values(self, memory: Tensor) -> dict[int, KeysValues]:
        return {layer: keys_values(block, memory) for layer, block in self.looks.items()}


class Captioner(nn.Module, ABC):
    """Image and text latents in one space, and captions. Speaks as MaMMUT does; its texts are those of
    `ClipTokenizer`.

    size: of the stack. logit_scale: the logarithm of what cosines are multiplied with. least_tokens: that a
    caption has before it may end, its mark at the beginning counted.
    """

    least_tokens = 0

    size: TransformerConfig
    logit_scale: Tensor

    def __init__(self, tower: VisionTower):
        super().__init__()
        self.tower = tower

    @property
    @abstractmethod
    def stack(self) -> Stack:
        """Which blocks write captions."""

    @property
    @abstractmethod
    def dim_latents(self) -> int: ...

    @abstractmethod
    def encode_images(self, pixels: Tensor) -> ImageFeatures:
        """(b, 3, size, size) normalised pixels -> latents and caption memory."""

    @abstractmethod
    def embed_texts(self, ids: Tensor, real: Tensor) -> Tensor:
        """(b, n) ids with the marks of beginning and end, (b, n) bool which are no padding -> unit
        latents (b, dim_latents). Raises PromptError on a text longer than the context."""

    @abstractmethod
    def latent_weights(self) -> Mapping[str, Tensor]:
        """Those that latents depend on, by their names."""

    @property
    def context(self) -> int:
        """Tokens that a text can have, its marks included."""
        return self.stack.context

    @property
    def scale(self) -> Tensor:
        """What cosines are multiplied with: the inverse temperature, at most LARGEST_SCALE."""
        return self.logit_scale.exp().clamp(max=LARGEST_SCALE)

    def similarity(self, texts: Tensor, images: Tensor) -> Tensor:
        """Unit latents (t, d), (i, d) -> (t, i) scaled cosines."""
        return self.scale * (texts.float() @ images.float().T)

    def forward(self, ids: Tensor, images: Tensor) -> Tensor:
        """(b, n) ids and their pictures (b, 3, size, size) -> (b, n, vocab) logits of a caption."""
        return self.logits(ids, self.encode_images(images).memory)

    def logits(self, ids: Tensor, memory: Tensor) -> Tensor:
        """(b, n) ids, (b, m, dim) memory -> (b, n, vocab) logits."""
        stack = self.stack
        return stack.logits(stack.states(ids, CausalMask(), stack.keys_values(memory)))

    def prefill(
        self, ids: Tensor, lengths: Sequence[int], capacity: int, memory: Tensor
    ) -> tuple[Tensor, MaMMUTCache]:
        """(b, n) ids padded on the right, (b, m, dim) memory -> next logits (b, vocab), cache."""
        pictures = ContextCache(self.stack.keys_values(memory), [memory.shape[1]] * len(ids))
        cache = MaMMUTCache(self._tokens(len(ids), capacity), pictures)
        states = self._step(ids, cache)
        cache.tokens.advance(list(lengths))
        return self.stack.logits(last_states(states, lengths)), cache

    def new_cache(self, rows: int, capacity: int) -> MaMMUTCache:
        """For a continuous batch: room for rows that are put in and taken out, none in use yet."""
        tokens = self._tokens(rows, capacity)
        tokens.clear()
        nothing = tokens.keys.new_zeros(rows, 0, self.config.dim)
        return MaMMUTCache(tokens, ContextCache(self.stack.keys_values(nothing), []))

    def decode_step(self, ids: Tensor, cache: MaMMUTCache) -> Tensor:
        """(b,) one new id per row -> (b, vocab) logits of the next."""
        states = self._step(ids[:, None], cache)
        cache.tokens.advance([1] * len(ids))
        return self.stack.logits(states[:, -1])

    def _tokens(self, rows: int, capacity: int) -> KVCache:
        """No longer than there are places, so that the cache refuses what the model cannot read."""
        size, weight = self.config, self.stack.words.token_embedding.weight
        room = min(capacity, self.context)
        return KVCache(size.depth, rows, room, size.dim_head, weight, heads=size.heads)

    def _step(self, ids: Tensor, cache: MaMMUTCache) -> Tensor:
        pattern = cache.tokens.extend_by(ids.shape[1])
        return self.stack.states(ids, pattern, cache.pictures.by_layer())

    def _padded(self, ids: Tensor, real: Tensor) -> Tensor:
        """(b, n) -> (b, context), zeros where nothing is real: the lengths these towers were trained at."""
        if (longest := int(real.sum(dim=1).max())) > self.context:
            raise PromptError(
                f"a text has {longest} tokens with its marks, and this model reads {self.context}; shorten it"
            )
        padded = ids.new_zeros(len(ids), self.context)
        shared = min(ids.shape[1], self.context)
        padded[:, :shared] = ids.masked_fill(~real, 0)[:, :shared]
        return padded
