"""Which weights something was made with: a short name that other weights do not have."""

import hashlib

import torch
from torch import nn

DIGITS = 16


def fingerprint(module: nn.Module) -> str:
    """Of all its weights, as they are stored: in bf16, so that a cast to fp32 and back changes nothing."""
    seen = hashlib.sha256()
    for name, weight in sorted(module.state_dict().items()):
        stored = weight.detach().to("cpu", torch.bfloat16).contiguous()
        seen.update(f"{name}{tuple(stored.shape)}".encode())
        seen.update(stored.view(torch.uint8).numpy())
    return seen.hexdigest()[:DIGITS]
