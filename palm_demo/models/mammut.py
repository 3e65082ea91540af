"""MaMMUT (Kuo et al. 2023): one decoder, run once for contrast and once for captions.

Letters: `b` batch, `n` text tokens, `m` picture tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from palm_demo.errors import PromptError
from palm_demo.models.attention import CausalMask, VisibleMask
from palm_demo.models.cpu_linear import Weights
from palm_demo.models.cross_attention import KeysValues, ParallelCrossAttention
from palm_demo.models.kv_cache import ContextCache, KVCache
from palm_demo.models.layers import LayerNorm, Style
from palm_demo.models.losses import IGNORED, cross_entropy, gather_rows, joint_mean
from palm_demo.models.resampler import AttentionPool
from palm_demo.models.side_by_side import CrossAttentionLayer
from palm_demo.models.transformer import Decoder, IncrementalDecoder, TransformerConfig

LARGEST_SCALE = 100.0
"""CLIP's bound on the inverse temperature (Radford et al. 2021, section 2.5)."""


class TextPass(Protocol):
    """The interface of functions that turn a text into one vector for contrast."""

    def __call__(self, decoder: Decoder, ids: Tensor, real: Tensor, summary: Tensor) -> Tensor:
        """The summary state (b, dim) of texts.

        ids: (b, n). real: (b, n) bool, false for padding. summary: (dim,), the summary token.
        """


def bidirectional_text_pass(decoder: Decoder, ids: Tensor, real: Tensor, summary: Tensor) -> Tensor:
    """A text's summary state, with attention in both directions (MaMMUT, section 3.2).

    The summary token stands first, so that padding does not change its position. Arguments as in `TextPass`.
    """
    states = torch.cat((_rows(summary, ids), decoder.embedding(ids)), dim=1)
    mask = rearrange(F.pad(real, (1, 0), value=True), "b m -> b 1 m")
    return decoder(states, VisibleMask(mask))[:, 0]


def causal_text_pass(decoder: Decoder, ids: Tensor, real: Tensor, summary: Tensor) -> Tensor:
    """A text's summary state, with causal attention and the summary token last, as in MaMMUT-pytorch."""
    states = torch.cat((decoder.embedding(ids), _rows(summary, ids)), dim=1)
    n = states.shape[1]
    causal = torch.ones(n, n, dtype=torch.bool, device=ids.device).tril()
    unpadded = F.pad(real, (0, 1), value=True)
    mask = repeat(causal, "n m -> b n m", b=len(ids)).clone()
    mask[:, -1] &= unpadded
    return decoder(states, VisibleMask(mask))[:, -1]


def _rows(vector: Tensor, ids: Tensor) -> Tensor:
    return repeat(vector, "d -> b 1 d", b=len(ids))


class PatchMemory(nn.Module):
    """Caption memory from projected patches: (b, patches, dim_vision) -> (b, patches, dim)."""

    def __init__(self, dim: int, dim_vision: int):
        super().__init__()
        self.norm = LayerNorm(dim_vision)
        self.projection = nn.Linear(dim_vision, dim, bias=False)

    def forward(self, patches: Tensor, pooled: Tensor) -> Tensor:
        return self.projection(self.norm(patches))


class PooledMemory(nn.Module):
    """Caption memory from pooled queries, as in MaMMUT-pytorch."""

    def forward(self, patches: Tensor, pooled: Tensor) -> Tensor:
        return pooled


@dataclass
class ImageFeatures:
    """The encoding of pictures.

    Attributes:
        latents: unit embeddings (b, dim_latents) for search.
        memory: (b, m, dim) for captions.
    """

    latents: Tensor
    memory: Tensor


@dataclass
class Losses:
    """The two losses of MaMMUT: means in nats, times their weights."""

    caption: Tensor
    contrastive: Tensor


@dataclass
class MaMMUTCache:
    """Keys and values of self-attention for each token, and of cross-attention for each picture."""

    tokens: KVCache
    pictures: ContextCache

    def put(self, row: "MaMMUTCache") -> None:
        """Appends the only row of another cache."""
        self.tokens.put(row.tokens)
        self.pictures.put(row.pictures)

    def drop(self, row: int) -> None:
        """Takes a row out of use. The last one moves into its place."""
        self.tokens.drop(row)
        self.pictures.drop(row)

    def reorder(self, rows: list[int]) -> None:
        """Replaces the rows in use by copies of the given ones, in the given order (for beam search)."""
        self.tokens.reorder(rows)
        self.pictures.reorder(rows)


class MaMMUT(IncrementalDecoder):
    """Image and text embeddings in one space, and captions, from one decoder (MaMMUT, section 3).

    Args:
        config: numbers of the decoder.
        style: its layers.
        tower: any image encoder, (b, 3, size, size) -> (b, patches, width); None if patches are given
            instead of pixels.
        cross_layers: blocks (from 0) after which the captioning pass attends to the picture.
        kv_heads: key and value heads of that cross-attention: 1, as in MaMMUT-pytorch, or
            `config.heads`.
        dim_latents: width of the embeddings.
        pool: pools patches for contrast.
        memory: `PatchMemory` or `PooledMemory`.
        text_pass: `bidirectional_text_pass` or `causal_text_pass`.
        caption_weight, contrastive_weight: factors of the losses.
    """

    def __init__(
        self,
        config: TransformerConfig,
        style: Style,
        tower: nn.Module | None,
        cross_layers: Sequence[int],
        kv_heads: int,
        dim_latents: int,
        pool: AttentionPool,
        memory: nn.Module,
        text_pass: TextPass,
        caption_weight: float = 1.0,
        contrastive_weight: float = 1.0,
    ):
        super().__init__()
        self.tower = tower
        self.decoder = Decoder(config, style)
        self.summary = nn.Parameter(torch.randn(config.dim) * 0.02)
        self.summary_norm = style.norm(config.dim)
        self.pool, self.memory, self.text_pass = pool, memory, text_pass
        self.caption_weight, self.contrastive_weight = caption_weight, contrastive_weight
        self.image_to_latents = nn.Linear(config.dim, dim_latents, bias=False)
        self.text_to_latents = nn.Linear(config.dim, dim_latents, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(1 / 0.07).log())
        self.cross_attention = nn.ModuleDict(
            {
                str(layer): ParallelCrossAttention(
                    config.dim, config.heads, kv_heads, config.dim_head, config.ff_mult
                )
                for layer in cross_layers
            }
        )

    @property
    def config(self) -> TransformerConfig:
        return self.decoder.config

    @property
    def dim_latents(self) -> int:
        return self.image_to_latents.out_features

    @property
    def scale(self) -> Tensor:
        """The inverse temperature that cosines are multiplied with, at most LARGEST_SCALE."""
        return self.log_scale.exp().clamp(max=LARGEST_SCALE)

    def encode_images(self, pixels: Tensor) -> ImageFeatures:
        """(b, 3, size, size) normalised pixels -> embeddings and caption memory.

        Raises PromptError when there is no tower.
        """
        if self.tower is None:
            raise PromptError("this MaMMUT has no vision tower; give it patches (`image_tokens`), no pixels")
        return self.encode_patches(self.tower(pixels))

    def encode_patches(self, patches: Tensor) -> ImageFeatures:
        """The tower's patches (b, patches, width) -> embeddings and caption memory.

        Raises PromptError when they have another number of axes.
        """
        if patches.ndim != 3:
            raise PromptError(f"patches are {tuple(patches.shape)}; they have to be (b, patches, width)")
        contrastive, pooled = self.pool(patches)
        latents = F.normalize(self.image_to_latents(contrastive).float(), dim=-1)
        return ImageFeatures(latents, self.memory(patches, pooled))

    def embed_texts(self, ids: Tensor, real: Tensor) -> Tensor:
        """Unit embeddings (b, dim_latents) of texts. ids: (b, n). real: (b, n) bool, false for padding."""
        summary = self.text_pass(self.decoder, ids, real, self.summary)
        return F.normalize(self.text_to_latents(self.summary_norm(summary)).float(), dim=-1)

    def latent_weights(self) -> Mapping[str, Tensor]:
        """The weights that embeddings depend on, by name.

        Two models in which they are equal embed alike, whatever their captions.
        """
        others = ("cross_attention.", "memory.", "log_scale")
        return Weights(self, without=others)

    def similarity(self, texts: Tensor, images: Tensor) -> Tensor:
        """Scaled cosines of unit embeddings: (t, d) texts, (i, d) images -> (t, i).

        They are computed in fp32 even under autocast, because early in training cosines differ by less
        than bf16 can represent.
        """
        with torch.autocast(texts.device.type, enabled=False):
            return self.scale * (texts.float() @ images.float().T)

    def forward(
        self, ids: Tensor, images: Tensor | None = None, image_tokens: Tensor | None = None
    ) -> Tensor:
        """Runs the captioning pass: (b, n) ids and their pictures -> (b, n, vocab) logits.

        images: (b, 3, size, size) pixels. image_tokens: (b, patches, width), the tower's patches.
        Raises PromptError unless exactly one of them is given.
        """
        if (images is None) == (image_tokens is None):
            given = "neither" if images is None else "both"
            raise PromptError(f"a caption needs either images or image_tokens; {given} were given")
        features = self.encode_images(images) if images is not None else self.encode_patches(image_tokens)
        return self.logits(ids, features.memory)

    def logits(self, ids: Tensor, memory: Tensor) -> Tensor:
        """(b, n) ids, (b, m, dim) caption memory -> (b, n, vocab) logits."""
        return self.decoder.logits(self._states(ids, memory))

    def embed(self, ids: Tensor, memory: Tensor) -> Tensor:
        """(b, n) ids, (b, m, dim) caption memory -> (b, n, dim) states after the final norm."""
        return self.decoder.norm(self._states(ids, memory))

    def losses(
        self,
        features: ImageFeatures,
        caption_ids: Tensor,
        caption_labels: Tensor,
        text_ids: Tensor,
        text_real: Tensor,
    ) -> Losses:
        """Both losses of a batch of pairs (MaMMUT, section 3.3).

        Where several processes train together, their pairs count as one batch (see `losses`).

        Args:
            features: the pictures.
            caption_ids, caption_labels: (b, n), inputs and the next ids, padding IGNORED.
            text_ids, text_real: (b, n) for contrast, possibly another text for the same picture; `text_real`
                is false for padding.
        """
        nats = cross_entropy(self.logits(caption_ids, features.memory), caption_labels, reduction="sum")
        caption = joint_mean(nats, (caption_labels != IGNORED).sum())
        texts = gather_rows(self.embed_texts(text_ids, text_real))
        similarity = self.similarity(texts, gather_rows(features.latents))
        pairs = torch.arange(len(texts), device=texts.device)
        rows, columns = (F.cross_entropy(s, pairs) for s in (similarity, similarity.T))
        return Losses(self.caption_weight * caption, self.contrastive_weight * (rows + columns) / 2)

    def _states(self, ids: Tensor, memory: Tensor) -> Tensor:
        pictures = self._keys_values(memory)
        return self.decoder(self.decoder.embedding(ids), CausalMask(), self._layers_with(pictures))

    def prefill(
        self, ids: Tensor, lengths: Sequence[int], capacity: int, memory: Tensor
    ) -> tuple[Tensor, MaMMUTCache]:
        """Reads prompts. Returns the logits of what comes next, (b, vocab), and the cache.

        Args:
            ids: (b, n), padded on the right.
            lengths: real tokens of each row.
            capacity: tokens that a row can grow to.
            memory: (b, m, dim), the pictures' caption memory.
        """
        pictures = ContextCache(self._keys_values(memory), [memory.shape[1]] * len(ids))
        cache = MaMMUTCache(self.decoder.new_cache(len(ids), capacity), pictures)
        return self._prefill(ids, lengths, cache), cache

    def new_cache(self, rows: int, capacity: int) -> MaMMUTCache:
        """A cache for a continuous batch, with room for `rows` rows of `capacity` tokens, none in use
        yet."""
        tokens = self.decoder.new_cache(rows, capacity)
        tokens.clear()
        no_memory = self.decoder.embedding.weight.new_zeros(rows, 0, self.config.dim)
        return MaMMUTCache(tokens, ContextCache(self._keys_values(no_memory), []))

    def _run_cached(self, ids: Tensor, cache: MaMMUTCache) -> Tensor:
        mask, pictures = cache.tokens.extend_by(ids.shape[1]), cache.pictures.by_layer()
        return self.decoder(self.decoder.embedding(ids), mask, self._layers_with(pictures))

    def _logits_of(self, states: Tensor) -> Tensor:
        return self.decoder.logits(states)

    def _keys_values(self, memory: Tensor) -> dict[int, KeysValues]:
        """Keys and values of (b, m, dim) caption memory, by cross-attention layer."""
        return {
            int(layer): cross_attn.keys_values(memory) for layer, cross_attn in self.cross_attention.items()
        }

    def _layers_with(self, pictures: dict[int, KeysValues]) -> dict[int, CrossAttentionLayer]:
        """The cross-attention layers, each with its pictures' keys and values, as the decoder calls them."""
        return {
            layer: partial(self.cross_attention[str(layer)], keys_values=keys_values)
            for layer, keys_values in pictures.items()
        }
