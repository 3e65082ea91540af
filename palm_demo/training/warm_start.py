"""Starts a training from an earlier model's weights."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn


@torch.no_grad()
def copy_where_alike_(model: nn.Module, earlier: Mapping[str, Tensor], fresh: Collection[str] = ()) -> None:
    """Copies an earlier model's tensors into the parameters of the same name and shape.

    fresh: names of parameters that stay as they are.
    """
    own = dict(model.named_parameters())
    for name, tensor in earlier.items():
        if name in own and name not in fresh and own[name].shape == tensor.shape:
            own[name].copy_(tensor)
