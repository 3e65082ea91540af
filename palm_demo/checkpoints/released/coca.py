"""CoCa's released weights: `laion/mscoco_finetuned_CoCa-ViT-L-14-laion2B-s13B-b90k` and its like."""

from collections.abc import Mapping

import torch
from torch import Tensor

from palm_demo.checkpoints.filling import fill
from palm_demo.checkpoints.released.clip_sizes import text_size, vit_size
from palm_demo.checkpoints.sizing import Sizes
from palm_demo.clip import new_coca
from palm_demo.models.coca import CoCa

LAYOUT = "coca"


def read_coca(
    tensors: Mapping[str, Tensor],
    *,
    heads: int,
    text_heads: int,
    pool_heads: int,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> CoCa:
    """heads, text_heads, pool_heads: of the picture's attention, the text's, and that which pools the
    picture (L/14: 16, 12 and 8). device, dtype: what the weights become; by default they stay as they are.

    Raises CheckpointError that names the first tensors that are missing, unexpected or wrongly shaped.
    """
    sizes = Sizes(LAYOUT, tensors)
    text, vit = text_size(sizes, text_heads, "text.transformer.resblocks"), vit_size(sizes, heads)
    places, _ = sizes.shape("text.positional_embedding", 2)
    queries, pool_dim = sizes.shape("visual.attn_pool.query", 2)
    sizes.multiple("visual.attn_pool.query", pool_dim, pool_heads, "heads")
    with torch.device("meta"):
        decoder_depth = sizes.depth("text_decoder.resblocks")
        model = CoCa(new_coca(vit, queries, pool_heads, text, places - 1, decoder_depth))
    names = {name: name.removeprefix("tower.") for name in model.state_dict()}
    return fill(model, LAYOUT, tensors, names, {}, device, dtype).make_masks_()
