"""The bundled systems as files: which tensors each holds. Shared parts are stored once."""

from pathlib import Path

import torch
from torch import Tensor, nn

from palm_demo.checkpoints import files
from palm_demo.checkpoints.blueprints import (
    FlamingoBlueprint,
    MaMMUTBlueprint,
    PaLMBlueprint,
    blueprint_from,
    describe,
)
from palm_demo.errors import CheckpointError
from palm_demo.familiarity import Familiarity
from palm_demo.models import Flamingo, MaMMUT, PaLM
from palm_demo.vision import VisionTower

STORED = torch.bfloat16
WIDEST_PATCHES = 16_384


def save_tower(path: Path, tower: VisionTower) -> None:
    files.write(path, tower.visual.state_dict(), {"kind": "tower"}, STORED)


def load_tower(path: Path, config_folder: Path) -> VisionTower:
    """config_folder: holds the tower's `open_clip_config.json`."""
    tensors, _ = files.read(path, "tower")
    tower = VisionTower.from_folder(config_folder)
    files.load_into(tower.visual, tensors, path)
    return tower.eval()


def save_palm(path: Path, palm: PaLM, blueprint: PaLMBlueprint) -> None:
    files.write(path, palm.decoder.state_dict(), describe(blueprint), STORED)


def load_palm(path: Path) -> tuple[PaLM, PaLMBlueprint]:
    tensors, description = files.read(path, PaLMBlueprint.kind)
    blueprint = blueprint_from(description)
    palm = blueprint.build()
    files.load_into(palm.decoder, tensors, path)
    return palm.eval(), blueprint


def save_mammut(path: Path, mammut: MaMMUT, blueprint: MaMMUTBlueprint) -> None:
    """All but the tower, which has a file of its own."""
    files.write(path, _own(mammut, "tower."), describe(blueprint), STORED)


def load_mammut(path: Path, tower: VisionTower) -> MaMMUT:
    tensors, description = files.read(path, MaMMUTBlueprint.kind)
    mammut = blueprint_from(description).build(tower)
    return _load_own(mammut, tensors, path, "tower.")


def save_flamingo(path: Path, flamingo: Flamingo, blueprint: FlamingoBlueprint) -> None:
    """All but the tower and the language model, which have files of their own."""
    files.write(path, _own(flamingo, "encoder.tower.", "decoder."), describe(blueprint), STORED)


def load_flamingo(path: Path, palm: PaLM, tower: VisionTower) -> Flamingo:
    tensors, description = files.read(path, FlamingoBlueprint.kind)
    flamingo = blueprint_from(description).build(palm, tower)
    return _load_own(flamingo, tensors, path, "encoder.tower.", "decoder.")


def save_familiarity(path: Path, familiarity: Familiarity) -> None:
    description = {"kind": "familiarity", "width": len(familiarity.patch.mean)}
    files.write(path, familiarity.state_dict(), description, torch.float32)


def load_familiarity(path: Path) -> Familiarity:
    tensors, description = files.read(path, "familiarity")
    width = description.get("width")
    if type(width) is not int or not 1 <= width <= WIDEST_PATCHES:
        raise CheckpointError(f"{path} is of patches of width {width!r}; it can be 1 to {WIDEST_PATCHES:,}")
    familiarity = Familiarity(width)
    files.load_into(familiarity, tensors, path)
    return familiarity.eval()


def _own(model: nn.Module, *shared: str) -> dict[str, Tensor]:
    return {name: t for name, t in model.state_dict().items() if not name.startswith(shared)}


def _load_own(model: nn.Module, tensors: dict[str, Tensor], path: Path, *shared: str) -> nn.Module:
    others = {name: t for name, t in model.state_dict().items() if name.startswith(shared)}
    if foreign := sorted(others.keys() & tensors.keys()):
        raise CheckpointError(f"{path} does not fit the model: unexpected: {', '.join(foreign[:3])}")
    files.load_into(model, {**others, **tensors}, path)
    return model.eval()
