"""Changes to a sprite that keep it nameable, so that a model learns shapes rather than one set's drawings.

Training alone uses this: `render(scene, alter=partial(augment, rng=rng))`.
"""

from __future__ import annotations

from random import Random

import numpy as np

from palm_demo.world.rendering import hue_matrix


def augment(sprite: np.ndarray, rng: Random, strength: float = 1.0) -> np.ndarray:
    """Return a changed copy of a sprite, (cell, cell, 4) uint8 with straight alpha.

    Each change happens rarely and by itself: at `strength` 1 about half of all sprites stay as they
    are, at 2 nearly none.
    """
    changed = sprite.copy()
    for change, chance in CHANGES:
        if rng.random() < chance * strength:
            changed = change(changed, rng)
    return changed


def shift_colors(sprite: np.ndarray, rng: Random) -> np.ndarray:
    """Turn the hue by up to 18 degrees and change contrast and brightness a little."""
    rgb = sprite[..., :3].astype(np.float32) @ hue_matrix(round(rng.uniform(-18, 18)))
    rgb = (rgb - 128) * rng.uniform(0.8, 1.2) + 128 + rng.uniform(-20, 20)
    return _with(sprite, rgb)


def fade(sprite: np.ndarray, rng: Random) -> np.ndarray:
    """Take some or all of the colour away."""
    rgb = sprite[..., :3].astype(np.float32)
    gray = rgb @ np.array([0.3, 0.59, 0.11], np.float32)
    keep = rng.choice((0.0, 0.3, 0.6))
    return _with(sprite, gray[..., None] * (1 - keep) + rgb * keep)


def flatten(sprite: np.ndarray, rng: Random) -> np.ndarray:
    """Reduce the shades to a few, as a flat drawing has them."""
    step = rng.choice((48, 64, 85))
    return _with(sprite, (sprite[..., :3] // step).astype(np.float32) * (255 / (255 // step)))


def outline(sprite: np.ndarray, rng: Random) -> np.ndarray:
    """Draw a dark or light line of one or two pixels around the shape."""
    alpha = sprite[..., 3]
    wide = alpha
    for _ in range(rng.choice((1, 1, 2))):
        wide = _dilate(wide)
    shade = rng.choice((0, 20, 40, 255))
    cover = alpha[..., None].astype(np.float32) / 255
    changed = _with(sprite, sprite[..., :3] * cover + shade * (1 - cover))
    changed[..., 3] = wide
    return changed


def thin(sprite: np.ndarray, rng: Random) -> np.ndarray:
    """Take one pixel off the shape's rim."""
    changed = sprite.copy()
    changed[..., 3] = 255 - _dilate(255 - sprite[..., 3])
    return changed


def blur(sprite: np.ndarray, rng: Random) -> np.ndarray:
    """Average each pixel with its neighbours, alpha first, so that no dark fringe appears."""
    alpha = sprite[..., 3:].astype(np.float32)
    stacked = np.concatenate([sprite[..., :3] * (alpha / 255), alpha], axis=-1)
    for axis in (0, 1):
        stacked = (np.roll(stacked, 1, axis) + 2 * stacked + np.roll(stacked, -1, axis)) / 4
    alpha = stacked[..., 3:]
    rgb = stacked[..., :3] * (255 / np.maximum(alpha, 1))
    return np.clip(np.concatenate([rgb, alpha], axis=-1) + 0.5, 0, 255).astype(np.uint8)


def cover(sprite: np.ndarray, rng: Random) -> np.ndarray:
    """Cut away a strip along one side, at most a fifth of the cell."""
    changed = sprite.copy()
    side = len(sprite)
    cut = rng.randint(side // 12, side // 5)
    edge = rng.choice((np.s_[:cut], np.s_[-cut:], np.s_[:, :cut], np.s_[:, -cut:]))
    changed[edge] = 0
    return changed


def stretch(sprite: np.ndarray, rng: Random) -> np.ndarray:
    """Squeeze the drawing along one axis to 75 % or more, by picking rows or columns."""
    side = len(sprite)
    kept = round(side * rng.uniform(0.75, 0.95))
    picked = np.arange(kept) * side // kept
    changed = np.zeros_like(sprite)
    start = (side - kept) // 2
    if rng.random() < 0.5:
        changed[start : start + kept] = sprite[picked]
    else:
        changed[:, start : start + kept] = sprite[:, picked]
    return changed


def _with(sprite: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    changed = sprite.copy()
    changed[..., :3] = np.clip(rgb + 0.5, 0, 255)
    return changed


def _dilate(alpha: np.ndarray) -> np.ndarray:
    wide = alpha.copy()
    wide[1:] = np.maximum(wide[1:], alpha[:-1])
    wide[:-1] = np.maximum(wide[:-1], alpha[1:])
    wide[:, 1:] = np.maximum(wide[:, 1:], alpha[:, :-1])
    wide[:, :-1] = np.maximum(wide[:, :-1], alpha[:, 1:])
    return wide


CHANGES = (
    (shift_colors, 0.20),
    (fade, 0.06),
    (flatten, 0.06),
    (stretch, 0.10),
    (thin, 0.06),
    (blur, 0.06),
    (outline, 0.10),
    (cover, 0.06),
)
