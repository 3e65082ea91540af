"""Released weights in CLIP's layout: OpenFlamingo's picture encoder, CoCa and openMaMMUT."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from palm_demo.checkpoints.lazy_state_dict import InferredSizes, fill, part
from palm_demo.errors import CheckpointError
from palm_demo.models.clip_captioners import CoCa, OpenMaMMUT, new_coca
from palm_demo.models.transformer import TransformerConfig
from palm_demo.models.vision import ACTIVATIONS, VisionTower, ViTConfig


def vit_size(sizes: InferredSizes, heads: int) -> ViTConfig:
    """The numbers of the picture encoder. `heads` is the only one that the tensors do not show."""
    dim, _, patch_size, _ = sizes.shape("visual.conv1.weight", 4)
    places, _ = sizes.shape("visual.positional_embedding", 2)
    inner, _ = sizes.shape("visual.transformer.resblocks.0.mlp.c_fc.weight", 2)
    _, dim_latents = sizes.shape("visual.proj", 2)
    sizes.multiple("visual.conv1.weight", dim, heads, "heads")
    return ViTConfig(
        image_size=patch_size * sizes.side("visual.positional_embedding", places - 1),
        patch_size=patch_size,
        dim=dim,
        depth=sizes.depth("visual.transformer.resblocks"),
        heads=heads,
        ff_mult=sizes.multiple("visual.transformer.resblocks.0.mlp.c_fc.weight", inner, dim, "the model's"),
        dim_latents=dim_latents,
    )


def text_size(sizes: InferredSizes, heads: int, blocks: str) -> TransformerConfig:
    """The numbers of the text half. `blocks`: prefix of the names of its blocks."""
    vocab, dim = sizes.shape("text.token_embedding.weight", 2)
    inner, _ = sizes.shape(f"{blocks}.0.mlp.c_fc.weight", 2)
    return TransformerConfig(
        dim=dim,
        depth=sizes.depth(blocks),
        heads=heads,
        vocab=vocab,
        dim_head=sizes.multiple("text.token_embedding.weight", dim, heads, "heads"),
        ff_mult=sizes.multiple(f"{blocks}.0.mlp.c_fc.weight", inner, dim, "the model's"),
    )


CLIP_TOWER = "clip-tower"


def read_clip_tower(
    tensors: Mapping[str, Tensor],
    *,
    heads: int,
    activation: str,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> VisionTower:
    """Reads the picture encoder of a CLIP, which gives patches as they leave the last block.

    Args:
        tensors: a whole CLIP by open_clip's names, of which the text half is not read.
        heads, activation: not shown by the tensors (OpenAI's L/14: 16 and "quick_gelu").
        device, dtype: of the weights; by default unchanged.

    Raises CheckpointError that names the first tensors that are missing, unexpected or of a wrong
    shape, or an activation that no CLIP has.
    """
    if activation not in ACTIVATIONS:
        raise CheckpointError(f"activation is {activation!r}; known: {', '.join(ACTIVATIONS)}")
    seeing = part(tensors, "visual.")
    with torch.device("meta"):
        tower = VisionTower.with_raw_patches(vit_size(InferredSizes(CLIP_TOWER, seeing), heads), activation)
    names = {name: name for name in tower.state_dict()}
    return fill(tower, CLIP_TOWER, seeing, names, {}, device, dtype)


COCA = "coca"


def read_coca(
    tensors: Mapping[str, Tensor],
    *,
    heads: int,
    text_heads: int,
    pool_heads: int,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> CoCa:
    """Reads open_clip's CoCa.

    Args:
        tensors: the weights by open_clip's names.
        heads, text_heads, pool_heads: heads of the attention of pictures, of texts, and of the pooling
            (L/14: 16, 12 and 8).
        device, dtype: of the weights; by default unchanged.

    Raises CheckpointError that names the first tensors that are missing, unexpected or of a wrong
    shape.
    """
    sizes = InferredSizes(COCA, tensors)
    text, vit = text_size(sizes, text_heads, "text.transformer.resblocks"), vit_size(sizes, heads)
    places, _ = sizes.shape("text.positional_embedding", 2)
    queries, pool_dim = sizes.shape("visual.attn_pool.query", 2)
    sizes.multiple("visual.attn_pool.query", pool_dim, pool_heads, "heads")
    with torch.device("meta"):
        decoder_depth = sizes.depth("text_decoder.resblocks")
        model = CoCa(new_coca(vit, queries, pool_heads, text, places - 1, decoder_depth))
    names = {name: name.removeprefix("tower.") for name in model.state_dict()}
    return fill(model, COCA, tensors, names, {}, device, dtype).make_masks_()


OPENMAMMUT = "openmammut"


def read_openmammut(
    tensors: Mapping[str, Tensor],
    *,
    heads: int,
    text_heads: int,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> OpenMaMMUT:
    """Reads openMaMMUT.

    Args:
        tensors: the weights by the released file's names.
        heads, text_heads: heads of the attention of pictures and of texts (L/14: 16 and 12).
        device, dtype: of the weights; by default unchanged.

    Raises CheckpointError that names the first tensors that are missing, unexpected or of a wrong
    shape, or the widths that do not fit each other.
    """
    sizes = InferredSizes(OPENMAMMUT, tensors)
    with torch.device("meta"):
        text = text_size(sizes, text_heads, "text.resblocks")
        context, _ = sizes.shape("text.positional_embedding", 2)
        tower = VisionTower.with_raw_tokens(vit_size(sizes, heads))
        model = OpenMaMMUT(text, tower, context, cross_layers(sizes, text.depth))
    if model.dim_latents != text.dim:
        raise CheckpointError(
            f"these tensors do not fit {OPENMAMMUT}: picture latents have width {model.dim_latents} and "
            f"texts {text.dim}; they have to be as wide"
        )
    names = {name: name.removeprefix("tower.") for name in model.state_dict()}
    return fill(model, OPENMAMMUT, tensors, names, {}, device, dtype)


def cross_layers(sizes: InferredSizes, depth: int) -> range:
    """The blocks that a cross-attention block follows: 0, 2, 4 … in the released file."""
    count = sizes.depth("text.cross_attn")
    layers = range(0, depth, math.ceil(depth / count))
    if len(layers) != count:
        raise CheckpointError(
            f"these tensors do not fit {OPENMAMMUT}: {count} cross-attentions cannot stand at even distances "
            f"among {depth} blocks"
        )
    return layers
