"""Undocumented parts of open_clip: blocks, preprocessing settings, CoCa, CLIP's tokenizer.

Its public functions, which make whole models by their names, are called where they are needed.

open_clip is imported when one of these parts is first used: with torchvision and transformers it brings 1,700
modules and 250 MB, and a text needs none of them. Name parts as `open_clip_parts.VisionTransformer`, where
they are used.
"""

import logging
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from open_clip.coca_model import CoCa, MultimodalCfg
    from open_clip.model import CLIPTextCfg, CLIPVisionCfg
    from open_clip.tokenizer import SimpleTokenizer
    from open_clip.transformer import QuickGELU, ResidualAttentionBlock, VisionTransformer

__all__ = [
    "CLIPTextCfg",
    "CLIPVisionCfg",
    "CoCa",
    "MultimodalCfg",
    "QuickGELU",
    "ResidualAttentionBlock",
    "SimpleTokenizer",
    "VisionTransformer",
    "image_preparation",
    "prepare_for_",
    "raw_tokens_",
    "stage_of_folder",
    "untrained",
]
_MODULES = {
    "CLIPTextCfg": "model",
    "CLIPVisionCfg": "model",
    "CoCa": "coca_model",
    "MultimodalCfg": "coca_model",
    "QuickGELU": "transformer",
    "ResidualAttentionBlock": "transformer",
    "SimpleTokenizer": "tokenizer",
    "VisionTransformer": "transformer",
}
"""Where each class is in open_clip."""


def __getattr__(name: str) -> Any:
    """Imports open_clip when one of its classes is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"open_clip.{_MODULES[name]}"), name)


def image_preparation(visual: nn.Module):
    """The transform that an image encoder was trained with: a PIL picture -> (3, size, size) pixels."""
    from open_clip.transform import PreprocessCfg, image_transform_v2

    return image_transform_v2(PreprocessCfg(**visual.preprocess_cfg), is_train=False)


def prepare_for_(visual: nn.Module, size: int) -> nn.Module:
    """Sets a new image encoder's preprocessing to pictures of a size, with CLIP's mean and deviation."""
    from open_clip.transform import PreprocessCfg

    visual.preprocess_cfg = asdict(PreprocessCfg(size=size))
    return visual


def raw_tokens_(visual: nn.Module) -> nn.Module:
    """Makes a vision transformer return its tokens as they leave the last block, beside the pooled
    output."""
    visual.output_tokens = True
    visual.final_ln_after_pool = True  # the pooled output stays as it was, and no token is normed
    return visual


def untrained(folder: Path) -> nn.Module:
    """The image encoder of a folder's `open_clip_config.json`, random. open_clip warns of that on the root
    logger: nobody need be told, for its weights are loaded next."""
    import open_clip

    root, before = logging.getLogger(), [*logging.getLogger().handlers]
    root.addFilter(_is_not_of_open_clip)
    try:
        return open_clip.create_model(f"local-dir:{folder}", load_weights=False).visual
    finally:
        root.removeFilter(_is_not_of_open_clip)
        for handler in [*root.handlers]:  # the first warning of a process has made one
            if handler not in before:
                root.removeHandler(handler)


def _is_not_of_open_clip(record: logging.LogRecord) -> bool:
    import open_clip

    return Path(open_clip.__file__).parent not in Path(record.pathname).parents


def stage_of_folder(folder: Path, stage: int) -> nn.Module:
    """The timm network of a folder's `open_clip_config.json`, random, without later stages and its head."""
    visual = untrained(folder)
    visual.trunk.prune_intermediate_layers([stage], prune_head=True)
    visual.head = nn.Identity()
    return visual
