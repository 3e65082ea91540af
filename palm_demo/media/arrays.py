"""Converts arrays, tensors and pictures of 16 or 32 bits into pictures of 8 bits a channel."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from palm_demo.errors import MediaError

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
"""Pillow's mode for a number of channels."""


def from_array(source: np.ndarray | torch.Tensor) -> Image.Image:
    """Converts an array or tensor into a picture of 1 to 4 channels (gray, gray and alpha, RGB, RGBA).

    Args:
        source: (rows, columns) or with a channel axis: last in arrays and first in tensors, or the other
            way round where only that is possible. Integers go from 0 to 255, with 16 bits from 0 to
            65535; fractions from 0 to 1, or from 0 to 255 where one is above 1.

    Raises MediaError for other shapes and values.
    """
    first = isinstance(source, torch.Tensor)
    array = source.detach().to("cpu").contiguous() if first else source
    if first:
        array = (array.float() if array.dtype == torch.bfloat16 else array).numpy()
    levels = _as_bytes(_channels_last(array, first))
    return Image.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels)


def _channels_last(array: np.ndarray, first: bool) -> np.ndarray:
    """Moves the channels to the end: (rows, columns, channels). `first`: whether they are expected first."""
    if array.ndim == 2:
        array, first = array[..., None], False
    if array.ndim == 3 and array.size:
        ends = (0, -1) if first else (-1, 0)
        place = next((end for end in ends if array.shape[end] in MODES), None)
        if place is not None:
            return np.ascontiguousarray(np.moveaxis(array, place, -1))
    raise MediaError(
        f"an array of shape {array.shape} is not a picture; give rows × columns, or rows × columns × "
        "1 to 4 channels (a tensor has its channels first)"
    )


def _as_bytes(array: np.ndarray) -> np.ndarray:
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return (array >> 8).astype(np.uint8)
    if array.dtype.kind not in "iuf":
        raise MediaError(f"an array of {array.dtype} is not a picture; give whole numbers or fractions")
    low, high = float(array.min()), float(array.max())
    if array.dtype.kind == "f" and low >= -0.001 and high <= 1.001:
        return (array.clip(0, 1) * 255).round().astype(np.uint8)
    if not (low >= 0 and high <= 255):  # so that NaN is refused too
        raise MediaError(
            f"an array goes from {low:g} to {high:g} and is not a picture; whole numbers go from 0 to 255, "
            "fractions from 0 to 1"
        )
    return array.round().astype(np.uint8) if array.dtype.kind == "f" else array.astype(np.uint8)


def to_levels(image: Image.Image) -> Image.Image:
    """Converts a gray picture of 16 or 32 bits a pixel (I;16 and its variants, I, F) to 8 bits (L).

    16 bits lose the lower 8. With 32 bits or fractions no file says what white is: values from 0 to 1, 0
    to 255 and 0 to 65535 are read as such, and any other range is stretched from its least to its
    greatest value.
    """
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        return Image.fromarray((values >> 8).astype(np.uint8))
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise MediaError("the picture has pixels that are not numbers; save it with 8 or 16 bits a channel")
    if low < 0 or high > 65535:
        span = max(high - low, np.finfo(np.float64).tiny)
        values = (values - low) / span * 255
    elif high > 255:
        values = values / 257
    elif high <= 1 and image.mode == "F":
        values = values * 255
    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8))
