"""CoCa (Yu et al. 2022) and openMaMMUT (LAION 2024): captioners on CLIP's blocks, as released.

Unlike ours, attention and feed-forward stand one after the other, texts that are compared have no token
of their own to sum them up, and a caption looks at the picture after every second block.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from palm_demo.internals.open_clip_parts import (
    CLIPTextCfg,
    CLIPVisionCfg,
    MultimodalCfg,
    prepare_for_,
)
from palm_demo.internals.open_clip_parts import (
    CoCa as OpenClipCoCa,
)
from palm_demo.models.attention import VisibleMask
from palm_demo.models.captioner import Captioner, ResidualAttentionBlock, Stack
from palm_demo.models.cpu_linear import Weights
from palm_demo.models.mammut import ImageFeatures
from palm_demo.models.transformer import TransformerConfig
from palm_demo.models.vision import TokensOfViT, VisionTower, ViTConfig


def new_coca(
    vit: ViTConfig,
    pool_queries: int,
    pool_heads: int,
    text: TransformerConfig,
    context: int,
    decoder_depth: int,
) -> nn.Module:
    """text: the half that reads words alone, before `decoder_depth` blocks that also look; both have its
    width and heads. context: tokens of a text, without the one that sums it up."""
    blocks = {
        "context_length": context,
        "vocab_size": text.vocab,
        "width": text.dim,
        "heads": text.heads,
        "mlp_ratio": text.ff_mult,
    }
    made = OpenClipCoCa(
        embed_dim=vit.dim_latents,
        multimodal_cfg=MultimodalCfg(layers=decoder_depth, **blocks),
        text_cfg=CLIPTextCfg(layers=text.depth, embed_cls=True, output_tokens=True, **blocks),
        vision_cfg=CLIPVisionCfg(
            image_size=vit.image_size,
            patch_size=vit.patch_size,
            width=vit.dim,
            layers=vit.depth,
            head_width=vit.dim // vit.heads,
            mlp_ratio=vit.ff_mult,
            attentional_pool=True,
            attn_pooler_queries=pool_queries,
            attn_pooler_heads=pool_heads,
            output_tokens=True,
        ),
    )
    prepare_for_(made.visual, vit.image_size)
    return made


COCA_CAPTION_WEIGHTS = ("text_decoder.", "logit_scale")


class CoCa(Captioner):
    """coca: open_clip's. Its parts are used as they are; its own `generate` needs what transformers no
    longer has, and reads the whole text anew for each token.

    The text half reads words alone, and its last states go on through the decoder, where each block is
    followed by a look at the picture. Its captions have at least five tokens, as where its publishers write
    them.
    """

    least_tokens = 5

    def __init__(self, coca: nn.Module):
        super().__init__(VisionTower(coca.visual, TokensOfViT()))
        self.text, self.text_decoder = coca.text, coca.text_decoder
        self.logit_scale = coca.logit_scale
        depth = len(self.text.transformer.resblocks) + len(self.text_decoder.resblocks)
        dim, heads = self.text.width, self.text.heads
        self.config = TransformerConfig(dim, depth, heads, self.text.vocab_size, dim // heads)

    @property
    def stack(self) -> Stack:
        blind, has_any_key = self.text.transformer.resblocks, self.text_decoder.resblocks
        looks = dict(enumerate(self.text_decoder.cross_attn, start=len(blind)))
        return Stack(self.text, [*blind, *has_any_key], looks, self.text_decoder, self.text.context_length)

    @property
    def dim_latents(self) -> int:
        return self.tower.visual.proj.shape[1]

    def encode_images(self, pixels: Tensor) -> ImageFeatures:
        """Latents are pooled by the first of the tower's queries; captions read the others."""
        pooled, memory = self.tower.visual(pixels.to(self.tower.visual.proj.dtype))
        return ImageFeatures(F.normalize(pooled.float(), dim=-1), memory)

    def embed_texts(self, ids: Tensor, real: Tensor) -> Tensor:
        """The token that sums a text up has learned one place, the last, so that texts are padded."""
        pooled, _ = self.text(self._padded(ids, real))
        return F.normalize(pooled.float(), dim=-1)

    def latent_weights(self) -> dict[str, Tensor]:
        return Weights(self, without=COCA_CAPTION_WEIGHTS)

    def make_masks_(self) -> "CoCa":
        """What no file holds, and a model made on the meta device lacks: the text half's causal mask."""
        device = self.text.positional_embedding.device
        with torch.device(device):
            self.text.attn_mask = self.text.build_causal_mask()
        return self


MAMMUT_CAPTION_WEIGHTS = ("text.cross_attn.", "text.text_projection", "map_viz2txt_kv", "logit_scale")


class MammutText(nn.Module):
    """The text half, its weights named as in the released file. text_projection: the head, which is not
    tied to the embedding."""

    def __init__(self, size: TransformerConfig, context: int, looks: int):
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

    def __init__(
        self, size: TransformerConfig, tower: VisionTower, context: int, cross_layers: Sequence[int]
    ):
        super().__init__(tower)
        self.config, self._context, self.cross_layers = size, context, tuple(cross_layers)
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
        everywhere = VisibleMask(torch.ones(1, 1, self.context, dtype=torch.bool, device=ids.device))
        states = self.stack.normed(self.stack.states(padded, everywhere, {}))
        return F.normalize(states.float().mean(dim=1), dim=-1)

    def latent_weights(self) -> dict[str, Tensor]:
        return Weights(self, without=MAMMUT_CAPTION_WEIGHTS)
