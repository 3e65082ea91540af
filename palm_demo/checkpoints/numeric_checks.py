"""Checks whether numbers can be a model's weights, tensor by tensor as they are loaded.

A single number that is not finite spoils every answer, and so does a weight of zeros. Both come from
files that were cut short, converted wrongly or made up.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from palm_demo.errors import CheckpointError
from palm_demo.models import PaLM
from palm_demo.models.lora import PROJECTIONS, Adapter

READABLE = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
"""Floating dtypes that weights may have."""

LARGEST_UPDATE = 100.0
"""The largest norm of a scope's update, as a multiple of the weight's norm. The bundled scopes reach 0.4;
an update of 100 times the weight leaves nothing of the model."""


def check_tensors(tensors: Mapping[str, Tensor], source: Path | str, model: nn.Module) -> None:
    """Raises CheckpointError that names the source and the first tensor whose numbers cannot be weights.

    model: newly made. What is zero in it may be zero: closed gates, biases, updates that add nothing
    yet.
    """
    made = model.state_dict(keep_vars=True)
    for name, tensor in tensors.items():
        like = made.get(name)
        check_tensor(name, tensor, source, may_be_zero=like is None or starts_at_zero(like))


def starts_at_zero(weight: Tensor) -> bool:
    """Whether a newly made weight has zeros: anywhere in a vector or number, everywhere in a matrix."""
    weight = weight.detach()
    return not bool(weight.any()) if weight.ndim > 1 else weight.numel() < 2 or not bool(weight.all())


def check_tensor(name: str, tensor: Tensor, source: Path | str, may_be_zero: bool) -> None:
    """Raises CheckpointError unless a tensor's numbers are finite and, unless they may be, not all zero.

    It reads the tensor once. A tensor on the meta device passes.
    """
    if not tensor.numel() or tensor.is_meta:
        return
    if tensor.dtype in READABLE:
        low, high = (float(end) for end in tensor.detach().aminmax())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise CheckpointError(
                f"{source} has values in {name} that are not finite; download or make the file again"
            )
        if low == high == 0 and not may_be_zero:
            raise CheckpointError(
                f"{source} has nothing but zeros in {name}; download or make the file again"
            )
    elif tensor.dtype.is_floating_point or tensor.dtype.is_complex:
        known = ", ".join(str(dtype).removeprefix("torch.") for dtype in READABLE)
        raise CheckpointError(
            f"{source} has {name} in {str(tensor.dtype).removeprefix('torch.')}, which weights cannot be in; "
            f"save it in one of {known}"
        )


AttentionNorms = list[dict[str, float]]
"""The norm of each adapted projection's weight, by block."""


def attention_norms(palm: PaLM) -> AttentionNorms:
    """The norms of the attention's weights in each block, without what is merged into them."""
    norms, base = [], palm.base_weights()
    for number, block in enumerate(palm.decoder.blocks):
        *inputs, _ = base[f"blocks.{number}.fused.weight"].split((*block.inputs, block.ff_width))
        weights = (*inputs, base[f"blocks.{number}.attention_out.weight"])
        norms.append({name: float(w.double().norm()) for name, w in zip(PROJECTIONS, weights, strict=True)})
    return norms


def check_update(adapter: Adapter, norms: AttentionNorms, source: Path | str) -> None:
    """Raises CheckpointError where an adapter's update is larger than LARGEST_UPDATE times the weight."""
    for number, (layer, of_base) in enumerate(zip(adapter.layers, norms, strict=True)):
        for name in PROJECTIONS:
            added = float((layer[name].down.detach().double() @ layer[name].up.detach().double()).norm())
            if not added <= LARGEST_UPDATE * of_base[name]:
                raise CheckpointError(
                    f"{source} adds {added / of_base[name]:.3g} times the weights to the {name} weights of "
                    f"block {number}, and a scope may add {LARGEST_UPDATE:g} times as much at most; "
                    "fine-tune it again, with a lower learning rate"
                )
