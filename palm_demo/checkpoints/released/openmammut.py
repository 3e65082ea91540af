"""openMaMMUT's released weights: `laion/openMaMMUT-ViT-L-14-DataComp-1.4B-s12.8B-b180K`."""

from collections.abc import Mapping

import torch
from torch import Tensor

from palm_demo.checkpoints.filling import fill
from palm_demo.checkpoints.released.clip_sizes import text_size, vit_size
from palm_demo.checkpoints.sizing import Sizes
from palm_demo.errors import CheckpointError
from palm_demo.models.openmammut import OpenMaMMUT
from palm_demo.vision import VisionTower

LAYOUT = "openmammut"


def read_openmammut(
    tensors: Mapping[str, Tensor],
    *,
    heads: int,
    text_heads: int,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> OpenMaMMUT:
    """heads, text_heads: of the picture's and the text's attention (L/14: 16 and 12). device, dtype: what
    the weights become; by default they stay as they are.

    Raises CheckpointError that names the first tensors that are missing, unexpected or wrongly shaped, or
    the widths that do not go together.
    """
    sizes = Sizes(LAYOUT, tensors)
    with torch.device("meta"):
        text = text_size(sizes, text_heads, "text.resblocks")
        context, _ = sizes.shape("text.positional_embedding", 2)
        tower = VisionTower.with_raw_tokens(vit_size(sizes, heads))
        model = OpenMaMMUT(text, tower, context, cross_layers(sizes, text.depth))
    if model.dim_latents != text.dim:
        raise CheckpointError(
            f"these tensors do not fit {LAYOUT}: picture latents have width {model.dim_latents} and texts "
            f"{text.dim}; they have to be as wide"
        )
    names = {name: name.removeprefix("tower.") for name in model.state_dict()}
    return fill(model, LAYOUT, tensors, names, {}, device, dtype)


def cross_layers(sizes: Sizes, depth: int) -> range:
    """After which blocks captions look at the picture: 0, 2, 4 … in the released file."""
    looks = sizes.depth("text.cross_attn")
    layers = range(0, depth, -(-depth // looks))
    if len(layers) != looks:
        raise CheckpointError(
            f"these tensors do not fit {LAYOUT}: {looks} cross-attentions cannot stand at even distances "
            f"among {depth} blocks"
        )
    return layers
