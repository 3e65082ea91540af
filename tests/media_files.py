"""Odd and ordinary media files, written on the spot."""

import struct
import zlib
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pillow_heif
from PIL import Image, ImageCms

RED, BLUE = (255, 0, 0), (0, 0, 255)


def red_over_blue() -> Image.Image:
    image = Image.new("RGB", (40, 60), BLUE)
    image.paste(RED, (0, 0, 40, 30))
    return image


def blank_png(path: Path, width: int, height: int) -> Path:
    """A black PNG of any size that costs nothing to make: one row, deflated over and over."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer, row = zlib.compressobj(1), bytes((width + 7) // 8 + 1)
    rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def video(path: Path, frames: int, rate: int = 8, side: int = 32, codec="mpeg4", **container) -> Path:
    """A video that goes from black to white, evenly."""
    with av.open(str(path), "w", **container) as file:
        stream = file.add_stream(codec, rate=rate)
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        for shade in np.linspace(0, 255, frames):
            picture = np.full((side, side, 3), round(shade), np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        file.mux(stream.encode())
    return path


def sound(path: Path) -> Path:
    """A second of silence, in whatever container the name says."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("pcm_s16le" if path.suffix == ".wav" else "aac", rate=16000, layout="mono")
        for start in range(0, 16000, 1000):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1000), np.int16), "s16", "mono")
            silence.sample_rate, silence.pts = 16000, start
            file.mux(stream.encode(silence))
        file.mux(stream.encode())
    return path


def shades(images: list[Image.Image]) -> list[float]:
    return [float(np.asarray(image).mean()) for image in images]


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = BytesIO()
    if kind == "HEIF":
        pillow_heif.from_pillow(image).save(file, **options)
    else:
        image.save(file, kind, **options)
    return file.getvalue()


def swapped_profile() -> bytes:
    """A profile of sRGB in which red and blue have changed places."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for place in range(132, 132 + 12 * struct.unpack(">I", data[128:132])[0], 12):
        if data[place : place + 4] in (b"rXYZ", b"bXYZ"):
            data[place : place + 4] = b"bXYZ" if data[place : place + 4] == b"rXYZ" else b"rXYZ"
    return bytes(data)


def timed(path: Path, times: list[float], codec: str = "libx264", **options) -> Path:
    """A video whose frames come at these seconds; each is as bright as it is late."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=30)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.options = {name: str(value) for name, value in options.items()}
        for time in times:
            shade = round(255 * time / max(times[-1], 1e-9))
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), shade, np.uint8))
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path
