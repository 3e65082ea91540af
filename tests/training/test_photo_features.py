"""The file of a tower's features of photographs."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import nn

from palm_demo.errors import CheckpointError
from palm_demo.training.loop import Intervals
from palm_demo.training.paths import RunPaths
from palm_demo.training.photo_features import photo_features_of


class Thumbnail(nn.Module):
    """A tower that sees one pixel, and whose classifier is certain of nothing."""

    image_size = 16

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.visual = SimpleNamespace(trunk=lambda pixels: torch.zeros(len(pixels), 1000), twin=None)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.weight * pixels.mean(dim=(2, 3))[:, None]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    (tmp_path / "photographs").mkdir()
    Image.effect_noise((40, 30), 90).convert("RGB").save(tmp_path / "photographs" / "noise.png")
    return str(tmp_path / "photographs")


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    return RunPaths(tmp_path / "assets", tmp_path / "runs" / "mammut", Intervals(), None)


def test_crops_are_encoded_once_for_all_recipes(folder, paths, monkeypatch):
    first = photo_features_of(folder, 5, Thumbnail(), 0, paths)
    assert first.patches.shape == (5, 1, 3) and first.names == [None] * 5
    monkeypatch.delattr(Thumbnail, "forward")
    beside = RunPaths(paths.assets, paths.run.with_name("flamingo"), Intervals(), None)
    assert torch.equal(photo_features_of(folder, 5, Thumbnail(), 0, beside).patches, first.patches)


def test_features_of_another_tower_or_of_other_crops_are_not_used(folder, paths):
    tower = Thumbnail()
    photo_features_of(folder, 5, tower, 0, paths)
    with pytest.raises(CheckpointError, match="has 5 crops, not the 6 asked for; use a new folder"):
        photo_features_of(folder, 6, tower, 0, paths)
    tower.weight.data += 1
    with pytest.raises(CheckpointError, match="was made by another tower; delete it, or use a new folder"):
        photo_features_of(folder, 5, tower, 0, paths)
