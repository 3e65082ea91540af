"""Weights on disk: safetensors with the model's description inside."""

from palm_demo.checkpoints.adapters import load_scope, save_scope
from palm_demo.checkpoints.weights import (
    load_flamingo,
    load_mammut,
    load_palm,
    load_tower,
    save_flamingo,
    save_mammut,
    save_palm,
    save_tower,
)

__all__ = [
    "load_flamingo",
    "load_mammut",
    "load_palm",
    "load_scope",
    "load_tower",
    "save_flamingo",
    "save_mammut",
    "save_palm",
    "save_scope",
    "save_tower",
]
