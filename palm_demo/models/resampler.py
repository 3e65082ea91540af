"""Pooling of many patches into few vectors: Flamingo's PerceiverResampler, MaMMUT's attention pooling."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from einops_exts import rearrange_many
from torch import Tensor, nn

from palm_demo.models.attention import attention_weights
from palm_demo.models.cross_attention import CrossAttention, feed_forward
from palm_demo.models.layers import LayerNorm


class PerceiverAttention(nn.Module):
    """Attention of the latents to the media and to themselves (Flamingo, figure 5)."""

    def __init__(self, dim: int, heads: int, dim_head: int):
        super().__init__()
        self.heads, self.scale = heads, dim_head**-0.5
        self.norm_media = nn.LayerNorm(dim)
        self.norm_latents = nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, heads * dim_head, bias=False)
        self.to_kv = nn.Linear(dim, 2 * heads * dim_head, bias=False)
        self.to_out = nn.Linear(heads * dim_head, dim, bias=False)

    def forward(self, media: Tensor, latents: Tensor) -> Tensor:
        """Attends: (b, tokens, dim) media and (b, latents, dim) -> (b, latents, dim)."""
        queries, keys, values = self._projected(media, latents)
        out = F.scaled_dot_product_attention(queries, keys, values, scale=self.scale)
        (out,) = rearrange_many((out,), "b h n d -> b n (h d)")
        return self.to_out(out)

    def attention_weights(self, media: Tensor, latents: Tensor) -> Tensor:
        """The attention weights of each head and latent: (b, h, latents, tokens + latents).

        The media's tokens come first, then the latents.
        """
        queries, keys, _ = self._projected(media, latents)
        everywhere = torch.ones(1, dtype=torch.bool, device=keys.device)
        return attention_weights(queries, keys, everywhere, self.scale)

    def _projected(self, media: Tensor, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        media, latents = self.norm_media(media), self.norm_latents(latents)
        keys, values = self.to_kv(torch.cat((media, latents), dim=1)).chunk(2, dim=-1)
        return rearrange_many((self.to_q(latents), keys, values), "b n (h d) -> b h n d", h=self.heads)


class PerceiverResampler(nn.Module):
    """Flamingo's Perceiver resampler (section 3.1.1): a fixed number of latents for each medium."""

    def __init__(self, dim: int, depth: int, heads: int, dim_head: int, num_latents: int):
        super().__init__()
        self.latents = nn.Parameter(torch.randn(num_latents, dim))
        self.layers = nn.ModuleList(
            nn.ModuleList((PerceiverAttention(dim, heads, dim_head), feed_forward(dim))) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, media: Tensor) -> Tensor:
        """Resamples one medium a row: (b, tokens, dim) -> (b, latents, dim)."""
        *_, latents = self._stages(media)
        return self.norm(latents)

    def attention_weights(self, media: Tensor) -> list[Tensor]:
        """The attention weights of each layer, (b, h, latents, tokens + latents)."""
        met = zip(self.layers, self._stages(media), strict=False)  # nobody looks from the last stage
        return [attention.attention_weights(media, latents) for (attention, _), latents in met]

    def _stages(self, media: Tensor) -> Iterator[Tensor]:
        """Yields the latents (b, latents, dim) before the first layer and after each."""
        latents = repeat(self.latents, "n d -> b n d", b=len(media))
        yield latents
        for attention, ff in self.layers:
            latents = latents + attention(media, latents)
            latents = latents + ff(latents)
            yield latents


class NoPositions(nn.Module):
    """Media without positions in their text, of which there may be any number."""

    max_media = None

    def to_patches(self, patches: Tensor, places: Tensor) -> Tensor:
        return patches

    def to_latents(self, latents: Tensor, places: Tensor) -> Tensor:
        return latents


class Placed(nn.Module):
    """The base of media positions: a learned vector for each position that a medium can have in its text."""

    def __init__(self, positions: Tensor):
        """positions: (media, dim), the initial values."""
        super().__init__()
        self.positions = nn.Parameter(positions)

    @property
    def max_media(self) -> int:
        return len(self.positions)


class PatchPositions(Placed):
    """Media positions that are added to the patches before they are resampled, as in the reference."""

    def __init__(self, max_media: int, dim: int):
        super().__init__(torch.randn(max_media, dim))

    def to_patches(self, patches: Tensor, places: Tensor) -> Tensor:
        """Adds the positions of media. patches: (b, tokens, dim), one medium a row. places: (b,), from 0."""
        return patches + rearrange(self.positions[places], "b d -> b 1 d")

    def to_latents(self, latents: Tensor, places: Tensor) -> Tensor:
        return latents


class LatentPositions(Placed):
    """Media positions that are added to the latents.

    The resampler need not carry them through, and texts that see all media must tell them apart.
    """

    def __init__(self, max_media: int, dim: int):
        super().__init__(torch.randn(max_media, dim) * 0.1)

    def to_patches(self, patches: Tensor, places: Tensor) -> Tensor:
        return patches

    def to_latents(self, latents: Tensor, places: Tensor) -> Tensor:
        """Adds the positions of media. latents: (b, latents, dim), one medium a row. places: (b,), from
        0."""
        return latents + rearrange(self.positions[places], "b d -> b 1 d")


class AttentionPool(nn.Module):
    """Attention pooling of patches by learned queries: the first for contrast, the rest for captions.

    As in MaMMUT-pytorch, and in CoCa, section 3.2. kv_heads: 1 as in MaMMUT-pytorch, which leaves all
    heads one value of `dim_head`; or `heads`.
    """

    def __init__(
        self, dim: int, dim_context: int, heads: int, kv_heads: int, dim_head: int, caption_queries: int
    ):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(1 + caption_queries, dim))
        self.norm_queries = LayerNorm(dim)
        self.norm_context = LayerNorm(dim_context)
        self.attention = CrossAttention(dim, dim_context, heads, kv_heads, dim_head)
        self.norm = LayerNorm(dim)

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Pools patches (b, patches, dim_context) into one vector (b, dim) and caption memory (b,
        queries, dim)."""
        queries = self.norm_queries(repeat(self.queries, "n d -> b n d", b=len(patches)))
        keys_values = self.attention.keys_values(self.norm_context(patches))
        pooled = self.norm(self.attention(queries, keys_values))
        return pooled[:, 0], pooled[:, 1:]
