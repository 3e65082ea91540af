"""Attention as heat over a gray picture, and rows of such pictures as HTML."""

import base64
import html
import io
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

SIDE = 160
"""Pixels of a shown picture; the tower's own are fewer."""

GLOW = np.array([(87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], dtype=np.float32)
"""From no attention to the most: four points of the upper inferno scale (van der Walt and Smith 2015),
which grows lighter all the way, so that it can be read without seeing colours."""


def glowing(frame: Image.Image, heat: np.ndarray) -> Image.Image:
    """The frame in light grays with heat over it, (rows, columns) from 0 to 1."""
    size = (SIDE, SIDE)
    gray = np.asarray(frame.convert("L").resize(size, Image.Resampling.BICUBIC), dtype=np.float32)
    spread = Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    heat = np.asarray(spread).clip(0, 1)
    points = np.linspace(0, 1, len(GLOW))
    glow = np.stack([np.interp(heat, points, channel) for channel in GLOW.T], axis=-1)
    cover = 0.85 * heat[..., None] ** 0.7
    mixed = (gray[..., None] * 0.6 + 80) * (1 - cover) + glow * cover
    return Image.fromarray(mixed.astype(np.uint8))


def still(title: str, picture: Image.Image) -> str:
    """A picture under its heading."""
    return _section("strip", title, _figure(picture, title, ""))


def film(title: str, frames: Sequence[tuple[Image.Image, str]]) -> str:
    """A video's frames in a row under its heading, each with a caption."""
    figures = (_figure(frame, f"{title}, {caption}", caption) for frame, caption in frames)
    return _section("strip film", title, "".join(figures))


def _section(kind: str, title: str, shown: str) -> str:
    return f"<section class='{kind}'><h3>{html.escape(title)}</h3><div>{shown}</div></section>"


def _figure(picture: Image.Image, words: str, caption: str) -> str:
    return (
        f"<figure><img src='{_address(picture)}' alt='{html.escape(words)}' width='{SIDE}' height='{SIDE}'>"
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[str | float]]) -> str:
    """Numbers from -1 to 1 as bars with their figures, everything else as it is."""
    top = "".join(f"<th scope='col'>{html.escape(head)}</th>" for head in heads)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<div class='bars'><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return f"<td>{html.escape(value)}</td>"
    return f"<td><span class='bar' style='width:{3 * abs(value):.2f}em'></span>{value:.2f}</td>"


def _address(picture: Image.Image) -> str:
    with io.BytesIO() as file:
        picture.save(file, "WEBP", quality=80)
        return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
