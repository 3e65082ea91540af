"""Weights of others into an empty model of ours, each tensor once in memory."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from palm_demo.checkpoints.fitting import misfit
from palm_demo.checkpoints.numbers import check_tensor
from palm_demo.checkpoints.stored import StoredTensors, outlines, source_of
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
    are. Tensors of a file are read one after another, those of the caller's are copied. A single number may
    come as () or as (1,): its publishers' code has had both.

    Raises CheckpointError that names the first tensors that are missing, unexpected or wrongly shaped,
    before one is read; or the first whose numbers are not finite, or a matrix's all zero.
    """
    empty, given = model.state_dict(), outlines(tensors)
    wanted = {theirs: tuple(empty[ours].shape) for ours, theirs in names.items()} | dict(beside)
    wanted |= {name: (1,) for name, shape in wanted.items() if not shape and _is_number(given.get(name))}
    if said := misfit(wanted, given):
        raise CheckpointError(f"these tensors do not fit {layout}: {said}")
    shared = not isinstance(tensors, StoredTensors)
    made = {}
    for ours, theirs in names.items():
        weight = tensors[theirs].detach().to(device=device, dtype=dtype, copy=shared).view(empty[ours].shape)
        check_tensor(theirs, weight, source_of(tensors, theirs), may_be_zero=weight.ndim < 2)
        made[ours] = weight
    model.load_state_dict(made, assign=True)
    return model.eval()


def _is_number(outline: Tensor | None) -> bool:
    return outline is not None and tuple(outline.shape) == (1,)
