"""Writes frames as a video file that browsers play."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
from PIL import Image


def write_video(path: Path | str, frames: Sequence[Image.Image], fps: int = 8) -> Path:
    """Write RGB pictures of one even size as an H.264 mp4; returns the path.

    Raises ValueError for no frames, differing sizes or odd sides, which yuv420p cannot hold.
    """
    if not frames:
        raise ValueError("a video needs at least 1 frame, got 0")
    sizes = {frame.size for frame in frames}
    if len(sizes) > 1:
        raise ValueError(f"frames differ in size: {sorted(sizes)}; resize them to one size")
    width, height = frames[0].size
    if width % 2 or height % 2:
        raise ValueError(f"frames of {width} x {height} pixels have an odd side; make both even")
    path = Path(path)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "16", "preset": "veryfast"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode(None))
    return path
