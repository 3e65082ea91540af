"""Weights of others into an empty model of ours, each tensor once in memory."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from palm_demo.checkpoints.fitting import misfit
from palm_demo.checkpoints.stored import StoredTensors, outlines
from palm_demo.errors import CheckpointError


def fill(
    model: nn.Module,
    layout: str,
    tensors: Mapping[str, Tensor],
    names: Mapping[str, str],
    beside: Mapping[str, tuple[int, ...]],
    device: torch.device | str | None,
    dtype: torch.dtype | None,
) -> nn.Module:
    """The model, which was made on the meta device, with the tensors as its weights and in eval mode.

    names: our name -> the file's, for every weight of the model. beside: what the file has to have as
    well, by its shape. device, dtype: what the weights become, tensor by tensor; None leaves them as they
    are. Tensors of a file are read one after another, those of the caller's are copied.

    Raises CheckpointError that names the first tensors that are missing, unexpected or wrongly shaped,
    before one is read.
    """
    empty = model.state_dict()
    wanted = {theirs: tuple(empty[ours].shape) for ours, theirs in names.items()} | dict(beside)
    if said := misfit(wanted, outlines(tensors)):
        raise CheckpointError(f"these tensors do not fit {layout}: {said}")
    shared = not isinstance(tensors, StoredTensors)
    made = {
        ours: tensors[theirs].detach().to(device=device, dtype=dtype, copy=shared)
        for ours, theirs in names.items()
    }
    model.load_state_dict(made, assign=True)
    return model.eval()
