"""openMaMMUT (LAION 2024): MaMMUT's two passes on CLIP's blocks, as its weights were released.

Unlike ours, attention and feed-forward stand one after the other, texts that are compared have no token
of their own to sum them up, and a caption looks at the picture after every second block.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from palm_demo.attention import Visible
from palm_demo.clip import ResidualAttentionBlock
from palm_demo.decoder import Size
from palm_demo.models.captioner import Captioner, Stack
from palm_demo.models.mammut import ImageFeatures
from palm_demo.projection import Weights
from palm_demo.vision import VisionTower

FOR_CAPTIONS = ("text.cross_attn.", "text.text_projection", "map_viz2txt_kv", "logit_scale")


class MammutText(nn.Module):
    """The text half, its weights named as in the released file. text_projection: the head, which is not
    tied to the embedding."""

    def __init__(self, size: Size, context: int, looks: int):
        super().__init__()
        self.token_embedding = nn.Embedding(size.vocab, size.dim)
        self.positional_embedding = nn.Parameter(torch.randn(context, size.dim) * 0.01)
        blocks = (ResidualAttentionBlock(size.dim, size.heads, size.ff_mult) for _ in range(size.depth))
        self.resblocks = nn.ModuleList(blocks)
        self.cross_attn = nn.ModuleList(
            ResidualAttentionBlock(size.dim, size.heads, size.ff_mult, is_cross_attention=True)
            for _ in range(looks)
        )
        self.ln_final = nn.LayerNorm(size.dim)
        self.text_projection = nn.Parameter(torch.randn(size.dim, size.vocab) * size.dim**-0.5)


class OpenMaMMUT(Captioner):
    """tower: gives all tokens as they leave the last block, the class token first, and its `visual` has
    the norm and the projection for latents; these are as wide as the text. cross_layers: after which
    blocks (from 0) a caption looks at the picture."""

    def __init__(self, size: Size, tower: VisionTower, context: int, cross_layers: Sequence[int]):
        super().__init__(tower)
        self.size, self._context, self.cross_layers = size, context, tuple(cross_layers)
        self.text = MammutText(size, context, len(self.cross_layers))
        self.map_viz2txt_kv = nn.Parameter(torch.randn(tower.width, size.dim) * tower.width**-0.5)
        self.logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log())

    @property
    def stack(self) -> Stack:
        text = self.text
        looks = dict(zip(self.cross_layers, text.cross_attn, strict=True))
        return Stack(text, text.resblocks, looks, text, self._context)

    @property
    def dim_latents(self) -> int:
        return self.tower.visual.proj.shape[1]

    def encode_images(self, pixels: Tensor) -> ImageFeatures:
        return self.encode_patches(self.tower(pixels.to(self.map_viz2txt_kv.dtype)))

    def encode_patches(self, tokens: Tensor) -> ImageFeatures:
        """(b, tokens, width) of the tower, the class token's among them -> latents and caption memory."""
        visual = self.tower.visual
        pooled = visual.ln_post(tokens.mean(dim=1)) @ visual.proj
        return ImageFeatures(F.normalize(pooled.float(), dim=-1), tokens @ self.map_viz2txt_kv)

    def embed_texts(self, ids: Tensor, real: Tensor) -> Tensor:
        """All tokens see each other, and padding counts as any token: with less of it than in training
        the cosine to the same text's latent falls to 0.2."""
        padded = self._padded(ids, real)
        everywhere = Visible(torch.ones(1, 1, self.context, dtype=torch.bool, device=ids.device))
        states = self.stack.normed(self.stack.states(padded, everywhere, {}))
        return F.normalize(states.float().mean(dim=1), dim=-1)

    def latent_weights(self) -> dict[str, Tensor]:
        return Weights(self, without=FOR_CAPTIONS)
