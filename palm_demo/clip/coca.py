"""open_clip's CoCa, random: what released weights are read into."""

from torch import nn

from palm_demo.decoder import Size
from palm_demo.internals.open_clip_parts import (
    CLIPTextCfg,
    CLIPVisionCfg,
    CoCa,
    MultimodalCfg,
    prepare_for_,
)
from palm_demo.vision import ViTSize


def new_coca(
    vit: ViTSize, pool_queries: int, pool_heads: int, text: Size, context: int, decoder_depth: int
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
    made = CoCa(
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
