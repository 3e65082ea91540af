"""Arrays, tensors and pictures of many bits as pictures of 8 bits a channel."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from palm_demo.errors import MediaError

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
"""By channels."""


def from_array(source: np.ndarray | torch.Tensor) -> Image.Image:
    """A picture of 1 to 4 channels (gray, gray and alpha, RGB, RGBA).

    source: (rows, columns), with channels last in arrays and first in tensors, or the other way round
    where only that can be meant. Whole numbers are 0 to 255, of 16 bits 0 to 65535; fractions 0 to 1, or
    0 to 255 where one is above 1. Raises MediaError for other shapes and values.
    """
    first = isinstance(source, torch.Tensor)
    array = source.detach().to("cpu").contiguous() if first else source
    if first:
        array = (array.float() if array.dtype == torch.bfloat16 else array).numpy()
    levels = _as_bytes(_channels_last(array, first))
    return Image.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels)


def _channels_last(array: np.ndarray, first: bool) -> np.ndarray:
    """(rows, columns, channels). first: whether channels are expected first."""
    if array.ndim == 2:
        array, first = array[..., None], False
    if array.ndim == 3 and array.size:
        ends = (0, -1) if first else (-1, 0)
        place = next((end for end in ends if array.shape[end] in MODES), None)
        if place is not None:
            return np.ascontiguousarray(np.moveaxis(array, place, -1))
    raise MediaError(
        f"an array of shape {array.shape} is no picture; give rows × columns, or rows × columns × "
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
        raise MediaError(f"an array of {array.dtype} is no picture; give whole numbers or fractions")
    low, high = float(array.min()), float(array.max())
    if array.dtype.kind == "f" and low >= -0.001 and high <= 1.001:
        return (array.clip(0, 1) * 255).round().astype(np.uint8)
    if not (low >= 0 and high <= 255):  # so that NaN is refused too
        raise MediaError(
            f"an array goes from {low:g} to {high:g} and is no picture; whole numbers go from 0 to 255, "
            "fractions from 0 to 1"
        )
    return array.round().astype(np.uint8) if array.dtype.kind == "f" else array.astype(np.uint8)


def to_levels(image: Image.Image) -> Image.Image:
    """The gray of a picture of 16 or 32 bits a pixel (I;16 and its like, I, F), as L.

    16 bits lose the lower 8. Of more, or of fractions, no file says what white is: 0 to 1, 0 to 255 and 0
    to 65535 are taken for what they look like, anything else goes from its least to its greatest value.
    """
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        return Image.fromarray((values >> 8).astype(np.uint8))
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise MediaError("the picture has pixels that are no numbers; save it with 8 or 16 bits a channel")
    if low < 0 or high > 65535:
        span = max(high - low, np.finfo(np.float64).tiny)
        values = (values - low) / span * 255
    elif high > 255:
        values = values / 257
    elif high <= 1 and image.mode == "F":
        values = values * 255
    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8))
