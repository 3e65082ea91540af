"""What tests of the picture world share: scenes made by hand, and where something is drawn."""

from __future__ import annotations

import numpy as np

from palm_demo import world
from palm_demo.world.backgrounds import Background


def scene_of(
    *names: str, kind: str = "single", relation: str | None = None, color: str = "blue"
) -> world.Scene:
    things = tuple(world.Thing(name, "noto", 0.5, 0.5, 0.4) for name in names)
    return world.Scene(things, Background(color, (30, 60, 220)), kind, relation)


def ink(picture, background) -> np.ndarray:
    """Where a picture differs from its plain background: (size, size) of 0 and 1."""
    return (np.abs(np.asarray(picture, float) - background.rgb).max(axis=-1) > 25).astype(float)


def centroid(mask: np.ndarray) -> tuple[float, float]:
    rows, columns = np.indices(mask.shape)
    return (columns * mask).sum() / mask.sum(), (rows * mask).sum() / mask.sum()
