"""Cross-attention from text to pictures: Flamingo's gated layers and MaMMUT's parallel ones.

Keys and values depend on the pictures alone, so each layer computes them once per request
(`keys_values`) and reads them at every step (`forward`).

Letters: `b` batch, `n` text tokens, `m` picture tokens, `h` heads, `d` head width.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange, reduce, repeat
from einops_exts import rearrange_many
from torch import Tensor, nn

from palm_demo.models.attention import attention_weights, masked_attention
from palm_demo.models.cpu_linear import Projection
from palm_demo.models.layers import BiasedLayerNorm, LayerNorm, SwiGLU

MediaRule = Callable[[Tensor, Tensor], Tensor]
"""(media so far at a token, number of a medium from 1) -> bool: whether the token sees the medium."""

MEDIA_RULES: dict[str, tuple[MediaRule, ...]] = {
    "immediate": (torch.eq,),
    "all": (torch.ge,),
    "both": (torch.ge, torch.eq),
}
"""Rules for the media a token sees: only the last one before it (Flamingo, section 3.1.3), or all before
it.

"both" gives half of the heads all media and the other half the last one. The last one tells what a
text's own picture shows; all of them let a text compare pictures.
"""


def visible_media(rule: str, media_so_far: Tensor, media: int, latents: int, heads: int) -> Tensor:
    """Which latents each token sees: bool (b, heads, n, media x latents); (b, 1, ...) if all heads agree.

    Args:
        rule: a name of MEDIA_RULES.
        media_so_far: (b, n), how many media stand at or before each token.
        media: the most media of a row.
        latents: the latents of one medium.
        heads: the number of heads.
    """
    numbers = torch.arange(1, media + 1, device=media_so_far.device)
    numbers = repeat(numbers, "t -> (t m)", m=latents)
    media_so_far = rearrange(media_so_far, "b n -> b n 1")
    visible = torch.stack([sees(media_so_far, numbers) for sees in MEDIA_RULES[rule]], dim=1)
    rules = visible.shape[1]
    return visible if rules == 1 else repeat(visible, "b r n m -> b (r h) n m", h=heads // rules)


KeysValues = tuple[Tensor, Tensor]
"""Keys and values, (b, h, m, d) each; h is 1 where all heads share them."""


class CrossAttention(nn.Module):
    """Attention with queries from text, and keys and values from a context of its own width.

    kv_heads: `heads` for a key and value per head, 1 for one shared by all (multi-query).
    """

    def __init__(self, dim: int, dim_context: int, heads: int, kv_heads: int, dim_head: int):
        super().__init__()
        if kv_heads not in (1, heads):
            raise ValueError(f"kv_heads is {kv_heads}; it can be 1 or the number of heads, {heads}")
        self.heads, self.kv_heads = heads, kv_heads
        self.scale = dim_head**-0.5
        self.to_q = Projection(dim, heads * dim_head)
        self.to_kv = nn.Linear(dim_context, 2 * kv_heads * dim_head, bias=False)
        self.to_out = Projection(heads * dim_head, dim)

    def keys_values(self, context: Tensor) -> KeysValues:
        """Keys and values of a context (b, m, dim_context)."""
        halves = self.to_kv(context).chunk(2, dim=-1)
        keys, values = rearrange_many(halves, "b m (h d) -> b h m d", h=self.kv_heads)
        return keys, values

    def forward(self, x: Tensor, keys_values: KeysValues, visible: Tensor | None = None) -> Tensor:
        """Attends to the context: (b, n, dim) -> (b, n, dim).

        visible: bool, broadcastable to (b, h, n, m), true where a token sees a key; None if it sees
        all.
        """
        queries = self._queries(x)
        keys, values = (t.expand(-1, self.heads, -1, -1) for t in keys_values)
        if visible is None:
            out = F.scaled_dot_product_attention(queries, keys, values, scale=self.scale)
        else:
            out = masked_attention(queries, keys, values, visible, self.scale)
        return self.to_out(out.transpose(1, 2).flatten(2))

    def attention_weights(self, x: Tensor, keys_values: KeysValues, visible: Tensor) -> Tensor:
        """The attention weights of `forward`: (b, h, n, m)."""
        return attention_weights(self._queries(x), keys_values[0], visible, self.scale)

    def _queries(self, x: Tensor) -> Tensor:
        queries = self.to_q(x)  # plain views: a step of decoding is too short for einops
        return queries.view(*queries.shape[:2], self.heads, -1).transpose(1, 2)


def feed_forward(dim: int) -> nn.Sequential:
    """Flamingo's feed-forward: a norm, then GELU between two projections without bias, 4 x dim wide
    inside.

    The resampler and the cross-attention layers have one each.
    """
    return nn.Sequential(
        BiasedLayerNorm(dim),
        Projection(dim, 4 * dim),
        nn.GELU(),
        Projection(4 * dim, dim),
    )


class GatedCrossAttention(nn.Module):
    """Flamingo's GATED XATTN-DENSE layer (section 3.1.2).

    Both gates are tanh(0) = 0 at first, so the language model starts unchanged. Text that sees no
    media still goes through the feed-forward.
    """

    def __init__(self, dim: int, dim_media: int, heads: int, dim_head: int):
        super().__init__()
        self.norm = BiasedLayerNorm(dim)
        self.attention = CrossAttention(dim, dim_media, heads, heads, dim_head)
        self.attention_gate = nn.Parameter(torch.zeros(1))
        self.ff = feed_forward(dim)
        self.ff_gate = nn.Parameter(torch.zeros(1))

    def keys_values(self, media: Tensor) -> KeysValues:
        """Keys and values of latents (b, m, dim_media)."""
        return self.attention.keys_values(media)

    def forward(
        self, x: Tensor, keys_values: KeysValues, visible: Tensor, has_media: Tensor | None = None
    ) -> Tensor:
        """Attends to the media: (b, n, dim) -> (b, n, dim).

        Args:
            x: states.
            keys_values: of the media.
            visible: bool, broadcastable to (b, h, n, m). A token that sees no key gets zeros from the
                attention.
            has_media: bool (b, 1, 1), which rows have media anywhere in their text, also where none of
                the tokens of `x` sees any. Here they are treated alike.
        """
        attn_out = self.attention(self.norm(x), keys_values, visible)
        x = x + attn_out * self.attention_gate.tanh()
        return x + self.ff(x) * self.ff_gate.tanh()

    def attention_weights(self, x: Tensor, keys_values: KeysValues, visible: Tensor) -> Tensor:
        """The attention weights of `forward`, (b, h, n, m). A row sums to 1, or to 0 where it sees no
        key."""
        return self.attention.attention_weights(self.norm(x), keys_values, visible)


class TextPreservingCrossAttention(GatedCrossAttention):
    """Gated cross-attention that leaves rows without media unchanged.

    Text alone then gets exactly the language model's states, whatever other rows are in the batch. A text
    with media is changed throughout, before its first medium too, read at once or in pieces.
    """

    def forward(
        self, x: Tensor, keys_values: KeysValues, visible: Tensor, has_media: Tensor | None = None
    ) -> Tensor:
        """Attends to the media in rows that have any: (b, n, dim) -> (b, n, dim).

        Arguments as in `GatedCrossAttention`. Without `has_media`, a row has media if one of its tokens
        sees any.
        """
        if not visible.shape[-1]:
            return x
        if has_media is None:
            has_media = reduce(visible, "b h n m -> b 1 1", "max")
        return torch.where(has_media, super().forward(x, keys_values, visible), x)


class ParallelCrossAttention(nn.Module):
    """MaMMUT's cross-attention layer, with attention and feed-forward side by side like the parallel
    block."""

    def __init__(self, dim: int, heads: int, kv_heads: int, dim_head: int, ff_mult: int):
        super().__init__()
        self.norm = LayerNorm(dim)
        self.attention = CrossAttention(dim, dim, heads, kv_heads, dim_head)
        self.ff = nn.Sequential(
            Projection(dim, 2 * dim * ff_mult),
            SwiGLU(),
            Projection(dim * ff_mult, dim),
        )

    def keys_values(self, memory: Tensor) -> KeysValues:
        """Keys and values of caption memory (b, m, dim)."""
        return self.attention.keys_values(memory)

    def forward(self, x: Tensor, keys_values: KeysValues) -> Tensor:
        """Attends to the picture: (b, n, dim) -> (b, n, dim)."""
        normed = self.norm(x)
        return x + self.attention(normed, keys_values) + self.ff(normed)
