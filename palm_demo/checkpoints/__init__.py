"""Weights on disk, and weights of the reference packages."""

from palm_demo.checkpoints.adapters import load_scope, save_scope
from palm_demo.checkpoints.reference import from_reference, to_reference
from palm_demo.checkpoints.weights import (
    load_familiarity,
    load_flamingo,
    load_mammut,
    load_palm,
    load_tower,
    save_familiarity,
    save_flamingo,
    save_mammut,
    save_palm,
    save_tower,
)

__all__ = [
    "from_reference",
    "load_familiarity",
    "load_flamingo",
    "load_mammut",
    "load_palm",
    "load_scope",
    "load_tower",
    "save_familiarity",
    "save_flamingo",
    "save_mammut",
    "save_palm",
    "save_scope",
    "save_tower",
    "to_reference",
]
