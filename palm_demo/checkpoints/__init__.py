"""Weights on disk: ours, LoRA adapters, and those of the reference packages and released models."""

from palm_demo.checkpoints.adapters import HIGHEST_RANK, load_adapter, load_scope, save_adapter
from palm_demo.checkpoints.bundled import (
    load_flamingo,
    load_mammut,
    load_ood_detector,
    load_palm,
    load_tower,
    save_flamingo,
    save_mammut,
    save_ood_detector,
    save_palm,
    save_tower,
)
from palm_demo.checkpoints.files import fingerprint, written_whole
from palm_demo.checkpoints.lazy_state_dict import open_weights
from palm_demo.checkpoints.lucidrains import to_reference
from palm_demo.checkpoints.numeric_checks import AttentionNorms, attention_norms
from palm_demo.checkpoints.pickles import converted
from palm_demo.checkpoints.registry import from_reference

__all__ = [
    "HIGHEST_RANK",
    "AttentionNorms",
    "attention_norms",
    "converted",
    "fingerprint",
    "from_reference",
    "load_adapter",
    "load_flamingo",
    "load_mammut",
    "load_ood_detector",
    "load_palm",
    "load_scope",
    "load_tower",
    "open_weights",
    "save_adapter",
    "save_flamingo",
    "save_mammut",
    "save_ood_detector",
    "save_palm",
    "save_tower",
    "to_reference",
    "written_whole",
]
