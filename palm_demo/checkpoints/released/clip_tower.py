"""The picture half of a released CLIP, as OpenFlamingo looks through it: OpenAI's ViT-L/14 and its like."""

from collections.abc import Mapping

import torch
from torch import Tensor

from palm_demo.checkpoints.filling import fill
from palm_demo.checkpoints.released.clip_sizes import vit_size
from palm_demo.checkpoints.sizing import Sizes
from palm_demo.checkpoints.stored import part
from palm_demo.vision import VisionTower

LAYOUT = "clip-tower"


def read_clip_tower(
    tensors: Mapping[str, Tensor],
    *,
    heads: int,
    activation: str,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> VisionTower:
    """tensors: of a whole CLIP by open_clip's names, of which those of the text half are left where they are.
    heads, activation: what no tensor tells (L/14 of OpenAI: 16 and "quick_gelu"). device, dtype: what the
    weights become; by default they stay as they are.

    It gives patches as they leave the last block, without the class token. Raises CheckpointError that names
    the first tensors that are missing, unexpected or wrongly shaped.
    """
    seeing = part(tensors, "visual.")
    with torch.device("meta"):
        tower = VisionTower.with_raw_patches(vit_size(Sizes(LAYOUT, seeing), heads), activation)
    names = {name: name for name in tower.state_dict()}
    return fill(tower, LAYOUT, seeing, names, {}, device, dtype)
