"""Undocumented parts of timm's EfficientNets: their stages, and the names of their modules.

A trunk is run in two halves, so that its last stages can exist twice behind the first ones.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from palm_demo.internals.open_clip_parts import untrained

if TYPE_CHECKING:
    from timm.layers import BatchNormAct2d

__all__ = [
    "answers",
    "first_stages",
    "fold_norms_",
    "last_stages",
    "renamed",
    "trunk_of_folder",
    "twin_stages",
]

OUTSIDE = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
EXPANDED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
"""Module names of the released EfficientNet-Lite -> timm's, for blocks with an expansion and without."""


def trunk_of_folder(folder: Path) -> nn.Module:
    """The image encoder of a folder's `open_clip_config.json`, random, whose `trunk` is timm's whole network
    with its classifier; open_clip's own projection is left out."""
    visual = untrained(folder)
    visual.head = nn.Identity()
    return visual


def first_stages(trunk: nn.Module, pixels: Tensor, count: int) -> Tensor:
    """Runs the first `count` stages: (b, 3, rows, columns) -> (b, channels, rows, columns)."""
    states = trunk.bn1(trunk.conv_stem(pixels))
    for stage in trunk.blocks[:count]:
        states = stage(states)
    return states


def last_stages(trunk: nn.Module, states: Tensor, count: int) -> Tensor:
    """Runs the stages after the first `count` ones and the classifier, and returns logits (b, classes)."""
    for stage in trunk.blocks[count:]:
        states = stage(states)
    return answers(trunk, states)


def answers(trunk: nn.Module, states: Tensor) -> Tensor:
    """Runs the classifier: (b, channels, rows, columns) after the last stage -> (b, classes) logits."""
    return trunk.forward_head(trunk.bn2(trunk.conv_head(states)))


def twin_stages(trunk: nn.Module, count: int) -> nn.ModuleList:
    """A copy of all stages except the first `count`."""
    return copy.deepcopy(trunk.blocks[count:])


@torch.no_grad()
def fold_norms_(network: nn.Module) -> nn.Module:
    """Folds batch norms into the convolutions before them, so that only their activations remain.

    The outputs are the same in about two thirds of the time. The network cannot be trained afterwards.
    """
    from timm.layers import BatchNormAct2d  # it takes seconds, and texts need none

    parts = dict(network.named_modules())
    last: tuple[nn.Module, str, nn.Conv2d] | None = None
    for name, part in parts.items():
        parent, _, leaf = name.rpartition(".")
        if isinstance(part, nn.Conv2d):
            last = parts[parent], leaf, part
        elif isinstance(part, BatchNormAct2d) and last is not None:
            of, conv_name, conv = last
            setattr(of, conv_name, _folded(conv, part))
            setattr(parts[parent], leaf, part.act)
            last = None
    return network


def _folded(conv: nn.Conv2d, norm: BatchNormAct2d) -> nn.Conv2d:
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    conv.weight.mul_(factor[:, None, None, None])
    offset = conv.bias if conv.bias is not None else torch.zeros_like(norm.running_mean)
    conv.bias = nn.Parameter((offset - norm.running_mean) * factor + norm.bias)
    return conv


def renamed(trunk: nn.Module, released: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a released EfficientNet-Lite under the names of timm's trunk.

    A release counts its blocks through all stages (`_blocks.7._bn0`), timm within each
    (`blocks.3.2.bn1`).
    """
    places = [(stage, block) for stage, blocks in enumerate(trunk.blocks) for block in range(len(blocks))]
    tensors = {}
    for name, tensor in released.items():
        top, _, rest = name.partition(".")
        if top != "_blocks":
            tensors[f"{OUTSIDE[top]}.{rest}"] = tensor
            continue
        number, part, leaf = rest.split(".")
        parts = EXPANDED if f"_blocks.{number}._expand_conv.weight" in released else PLAIN
        stage, block = places[int(number)]
        tensors[f"blocks.{stage}.{block}.{parts[part]}.{leaf}"] = tensor
    return tensors
