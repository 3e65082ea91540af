"""Whether a drawing stands out from its background: a black bat on black teaches nothing."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from palm_demo.world.atlas import Atlas
from palm_demo.world.backgrounds import Background
from palm_demo.world.things import Thing

DISTANCE = 70  # of two colours, in RGB units; below it edges vanish at 96 pixels
SHARE = 0.3  # of a drawing's opaque pixels that have to differ that much


def is_visible(thing: Thing, background: Background, atlas: Atlas) -> bool:
    """Whether enough of the thing's pixels differ clearly from the background's colour."""
    behind = np.array(background.rgb, dtype=np.float32)
    colors = np.array([thing.tint], np.float32) if thing.tint else _palette(atlas, thing.name, thing.style)
    far = np.square(colors - behind).sum(axis=-1) > DISTANCE**2
    return bool(far.mean() >= SHARE)


@lru_cache(maxsize=8192)
def _palette(atlas: Atlas, name: str, style: str) -> np.ndarray:
    """Up to 256 of a drawing's opaque pixels, evenly taken: (n, 3) float32."""
    pixels = atlas.pixels(name, style).reshape(-1, 4)
    opaque = pixels[pixels[:, 3] > 128][:, :3]
    return opaque[:: max(1, len(opaque) // 256)].astype(np.float32)
