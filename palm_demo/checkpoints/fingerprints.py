"""Which weights something was made with: a short name that other weights do not have."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

DIGITS = 16


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """Of weights by their names, as they are stored: in bf16, so that a cast to fp32 and back changes
    nothing."""
    seen = hashlib.sha256()
    for name in sorted(weights):
        stored = weights[name].detach().to("cpu", torch.bfloat16).contiguous()
        seen.update(f"{name}{tuple(stored.shape)}".encode())
        seen.update(stored.flatten().view(torch.uint8).numpy())
    return seen.hexdigest()[:DIGITS]
