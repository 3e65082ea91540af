"""How fast pictures go into a gallery: `python -m benchmarks.adding`, a Markdown table out.

`gallery add` is compared with the vision tower alone, on as many pictures in the same batches. What it does
besides (decoding, captions, thumbnails, hashes, writing) should cost little.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import torch

import palm_demo
from benchmarks.measuring import arguments, machine, medians, table
from palm_demo import world
from palm_demo.concurrency import run_in_thread
from palm_demo.gallery import MEMORY, open_gallery
from palm_demo.gallery.ingest import BATCH, ingest_pictures
from palm_demo.session import Session

PICTURES, SIDE = 2 * BATCH, 512


@dataclass(frozen=True)
class File:
    """A picture file in memory."""

    name: str
    data: bytes
    path: Path | None = None

    def read(self) -> bytes:
        return self.data


def drawn(number: int) -> File:
    """A scene as a JPEG of SIDE pixels."""
    file = BytesIO()
    scene = world.render(world.single_scene(random.Random(f"adding/{number}")))
    scene.resize((SIDE, SIDE)).save(file, "JPEG", quality=90)
    return File(f"{number}.jpg", file.getvalue())


@run_in_thread
@torch.inference_mode()
def tower_alone(session: Session, pixels: torch.Tensor) -> None:
    for some in pixels.split(BATCH):
        session.mammut.model.tower(some)


def add(session: Session, files: Sequence[File], captions: dict[str, str]) -> None:
    gallery = open_gallery(MEMORY, session.mammut.fingerprint, session.mammut.embedding_dim)
    report = ingest_pictures(gallery, session.mammut, files, captions)
    assert not report.unreadable


def main() -> None:
    given = arguments(__doc__, rounds=3).parse_args()
    print(machine(given.device))
    session, files = palm_demo.load(), [drawn(number) for number in range(PICTURES)]
    size = session.mammut.model.tower.image_size
    pixels = torch.randn(PICTURES, 3, size, size)
    captions = {file.name: "a picture" for file in files}
    sides = {
        "the tower alone": lambda: tower_alone(session, pixels),
        "added, with captions that lie there": lambda: add(session, files, captions),
        "added and described": lambda: add(session, files, {}),
    }
    seconds = medians(sides, given.rounds, given.device)
    alone = seconds["the tower alone"]
    rows = [[name, f"{PICTURES / s:.1f}", f"{alone / s:.0%}"] for name, s in seconds.items()]
    print("\n" + table([f"{PICTURES} pictures of {SIDE} × {SIDE}", "pictures/s", "of the tower alone"], rows))


if __name__ == "__main__":
    main()
