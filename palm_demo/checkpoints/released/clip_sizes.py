"""The sizes of CLIP's two halves, read off their tensors."""

from palm_demo.checkpoints.sizing import Sizes
from palm_demo.decoder import Size
from palm_demo.vision import ViTSize


def vit_size(sizes: Sizes, heads: int) -> ViTSize:
    """heads: the one number that no tensor tells."""
    dim, _, patch_size, _ = sizes.shape("visual.conv1.weight", 4)
    places, _ = sizes.shape("visual.positional_embedding", 2)
    inner, _ = sizes.shape("visual.transformer.resblocks.0.mlp.c_fc.weight", 2)
    _, dim_latents = sizes.shape("visual.proj", 2)
    sizes.multiple("visual.conv1.weight", dim, heads, "heads")
    return ViTSize(
        image_size=patch_size * sizes.side("visual.positional_embedding", places - 1),
        patch_size=patch_size,
        dim=dim,
        depth=sizes.depth("visual.transformer.resblocks"),
        heads=heads,
        ff_mult=sizes.multiple("visual.transformer.resblocks.0.mlp.c_fc.weight", inner, dim, "the model's"),
        dim_latents=dim_latents,
    )


def text_size(sizes: Sizes, heads: int, blocks: str) -> Size:
    """blocks: what the names of the text's blocks begin with."""
    vocab, dim = sizes.shape("text.token_embedding.weight", 2)
    inner, _ = sizes.shape(f"{blocks}.0.mlp.c_fc.weight", 2)
    return Size(
        dim=dim,
        depth=sizes.depth(blocks),
        heads=heads,
        vocab=vocab,
        dim_head=sizes.multiple("text.token_embedding.weight", dim, heads, "heads"),
        ff_mult=sizes.multiple(f"{blocks}.0.mlp.c_fc.weight", inner, dim, "the model's"),
    )
