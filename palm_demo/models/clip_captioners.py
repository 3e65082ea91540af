"""The released captioners on CLIP's blocks: CoCa (Yu et al. 2022) and openMaMMUT (LAION 2024).

They differ from our MaMMUT in three ways: attention and feed-forward stand one after the other,
openMaMMUT averages a text's states instead of reading a summary token, and cross-attention blocks
stand between the others.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from palm_demo.internals import open_clip_parts
from palm_demo.models.attention import VisibleMask
from palm_demo.models.captioner import Captioner, TextDecoderStack
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
    """Builds open_clip's CoCa with random weights.

    Args:
        vit: the picture encoder.
        pool_queries, pool_heads: queries and heads of the attention that pools patches.
        text: the text half without cross-attention; the blocks after it have its width and heads.
        context: tokens of a text, without the summary token.
        decoder_depth: blocks with cross-attention after the text half.
    """
    shared = {
        "context_length": context,
        "vocab_size": text.vocab,
        "width": text.dim,
        "heads": text.heads,
        "mlp_ratio": text.ff_mult,
    }
    model = open_clip_parts.CoCa(
        embed_dim=vit.dim_latents,
        multimodal_cfg=open_clip_parts.MultimodalCfg(layers=decoder_depth, **shared),
        text_cfg=open_clip_parts.CLIPTextCfg(layers=text.depth, embed_cls=True, output_tokens=True, **shared),
        vision_cfg=open_clip_parts.CLIPVisionCfg(
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
    open_clip_parts.prepare_for_(model.visual, vit.image_size)
    return model


COCA_CAPTION_WEIGHTS = ("text_decoder.", "logit_scale")
"""Prefixes of the names of weights that only captions depend on."""


class CoCa(Captioner):
    """CoCa (Yu et al. 2022) on open_clip's modules.

    The text half reads text alone. Its last states go on through the decoder, where a cross-attention
    block follows each block. Captions have at least five tokens, as in the publishers' code.
    open_clip's `generate` is not used: it needs parts that transformers has removed, and reads the
    whole text again for each token.
    """

    min_tokens = 5

    def __init__(self, coca: nn.Module):
        """Takes over the modules of open_clip's model."""
        super().__init__(VisionTower(coca.visual, TokensOfViT()))
        self.text, self.text_decoder = coca.text, coca.text_decoder
        self.logit_scale = coca.logit_scale
        depth = len(self.text.transformer.resblocks) + len(self.text_decoder.resblocks)
        dim, heads = self.text.width, self.text.heads
        self.config = TransformerConfig(dim, depth, heads, self.text.vocab_size, dim // heads)

    @property
    def text_decoder_stack(self) -> TextDecoderStack:
        text, decoder = self.text, self.text_decoder
        text_blocks = text.transformer.resblocks
        cross_blocks = dict(enumerate(decoder.cross_attn, start=len(text_blocks)))
        blocks = [*text_blocks, *decoder.resblocks]
        return TextDecoderStack(text, blocks, cross_blocks, decoder, text.context_length)

    @property
    def dim_latents(self) -> int:
        return self.tower.visual.proj.shape[1]

    def encode_images(self, pixels: Tensor) -> ImageFeatures:
        """(b, 3, size, size) pixels -> embeddings, pooled by the first query, and memory from the others."""
        pooled, memory = self.tower.visual(pixels.to(self.tower.visual.proj.dtype))
        return ImageFeatures(F.normalize(pooled.float(), dim=-1), memory)

    def embed_texts(self, ids: Tensor, real: Tensor) -> Tensor:
        """Unit embeddings of texts, (b, dim_latents); shapes and errors as in `Captioner.embed_texts`.

        Texts are padded to the full context, because the summary token only learned the last position.
        """
        pooled, _ = self.text(self._pad_to_context(ids, real))
        return F.normalize(pooled.float(), dim=-1)

    def latent_weights(self) -> Weights:
        return Weights(self, without=COCA_CAPTION_WEIGHTS)

    def make_masks_(self) -> "CoCa":
        """Builds the text half's causal mask, which no file stores and a model on the meta device lacks."""
        device = self.text.positional_embedding.device
        with torch.device(device):
            self.text.attn_mask = self.text.build_causal_mask()
        return self


MAMMUT_CAPTION_WEIGHTS = ("text.cross_attn.", "text.text_projection", "map_viz2txt_kv", "logit_scale")
"""Prefixes of the names of weights that only captions depend on."""


class MammutText(nn.Module):
    """openMaMMUT's text half, with its weights named as in the released file.

    `text_projection` is the head. It is not tied to the embedding.
    """

    def __init__(self, config: TransformerConfig, context: int, cross_blocks: int):
        """cross_blocks: the number of cross-attention blocks."""
        super().__init__()
        dim, heads, ff_mult = config.dim, config.heads, config.ff_mult
        self.token_embedding = nn.Embedding(config.vocab, dim)
        self.positional_embedding = nn.Parameter(torch.randn(context, dim) * 0.01)
        new_block = open_clip_parts.ResidualAttentionBlock
        self.resblocks = nn.ModuleList(new_block(dim, heads, ff_mult) for _ in range(config.depth))
        self.cross_attn = nn.ModuleList(
            new_block(dim, heads, ff_mult, is_cross_attention=True) for _ in range(cross_blocks)
        )
        self.ln_final = nn.LayerNorm(dim)
        self.text_projection = nn.Parameter(torch.randn(dim, config.vocab) * dim**-0.5)


class OpenMaMMUT(Captioner):
    """openMaMMUT (LAION 2024): one text decoder, with cross-attention for captions and without it for
    texts."""

    def __init__(
        self, config: TransformerConfig, tower: VisionTower, context: int, cross_layers: Sequence[int]
    ):
        """Builds the model of a released file, with random weights outside the tower.

        Args:
            config: of the text decoder.
            tower: gives all tokens as they leave the last block, the class token first. Its `visual`
                has the norm and the projection for embeddings, which are as wide as the text.
            context: tokens of a text.
            cross_layers: the blocks (from 0) that a cross-attention block follows.
        """
        super().__init__(tower)
        self.config, self._context, self.cross_layers = config, context, tuple(cross_layers)
        self.text = MammutText(config, context, len(self.cross_layers))
        self.map_viz2txt_kv = nn.Parameter(torch.randn(tower.width, config.dim) * tower.width**-0.5)
        self.logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log())

    @property
    def text_decoder_stack(self) -> TextDecoderStack:
        text = self.text
        cross_blocks = dict(zip(self.cross_layers, text.cross_attn, strict=True))
        return TextDecoderStack(text, text.resblocks, cross_blocks, text, self._context)

    @property
    def dim_latents(self) -> int:
        return self.tower.visual.proj.shape[1]

    def encode_images(self, pixels: Tensor) -> ImageFeatures:
        return self.encode_patches(self.tower(pixels.to(self.map_viz2txt_kv.dtype)))

    def encode_patches(self, tokens: Tensor) -> ImageFeatures:
        """The tower's tokens (b, tokens, width), class token included -> embeddings and caption memory."""
        visual = self.tower.visual
        pooled = visual.ln_post(tokens.mean(dim=1)) @ visual.proj
        return ImageFeatures(F.normalize(pooled.float(), dim=-1), tokens @ self.map_viz2txt_kv)

    def embed_texts(self, ids: Tensor, real: Tensor) -> Tensor:
        """Unit embeddings of texts, (b, dim_latents); shapes and errors as in `Captioner.embed_texts`.

        All tokens see each other, and padding counts like any token: with less padding than in
        training, the cosine to the same text's embedding falls to 0.2.
        """
        padded = self._pad_to_context(ids, real)
        everywhere = VisibleMask(torch.ones(1, 1, self.context, dtype=torch.bool, device=ids.device))
        stack = self.text_decoder_stack
        states = stack.normed(stack.states(padded, everywhere, {}))
        return F.normalize(states.float().mean(dim=1), dim=-1)

    def latent_weights(self) -> Weights:
        return Weights(self, without=MAMMUT_CAPTION_WEIGHTS)
