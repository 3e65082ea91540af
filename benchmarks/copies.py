"""Which altered pictures a gallery takes for copies: `python -m benchmarks.copies`, a Markdown table out.

Scenes of the picture world are altered in two ways: as people alter files, and so that they become other
pictures.
"""

import argparse
import random
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import numpy as np
from PIL import Image

import palm_demo
from benchmarks.measuring import table
from benchmarks.quality.rows import Cases
from palm_demo import world
from palm_demo.gallery.deduplicate import COSINE, PHASH_BITS
from palm_demo.gallery.pictures import perceptual_hash
from palm_demo.media import open_image

SIDE = 192
SHIFT = 0.03
"""How far things are moved towards the middle, in fractions of the frame."""

COSINES = sorted({0.97, 0.98, 0.99, 0.995, COSINE})
"""The limit that `gallery add` uses, and others: which one is best depends on the weights."""

Altered = Callable[[world.Scene], Image.Image]


def saved_as_jpeg(scene: world.Scene) -> Image.Image:
    file = BytesIO()
    world.render(scene, SIDE).save(file, "JPEG", quality=60)
    return open_image(file)


def shrunk(scene: world.Scene) -> Image.Image:
    return world.render(scene, SIDE).resize((SIDE // 3, SIDE // 3), Image.Resampling.LANCZOS)


def on_another_background(scene: world.Scene) -> Image.Image:
    rng = random.Random(repr(scene))
    return world.render(replace(scene, background=world.sample_background(rng)), SIDE)


def moved(scene: world.Scene) -> Image.Image:
    shift = -SHIFT if scene.things[0].x > 0.5 else SHIFT
    things = tuple(replace(thing, x=thing.x + shift) for thing in scene.things)
    return world.render(replace(scene, things=things), SIDE)


COPIES = {"saved as JPEG of quality 60": saved_as_jpeg, "shrunk to a third": shrunk}
OTHERS = {
    "the same things on another background": on_another_background,
    f"the same things moved by {SHIFT:.0%} of the frame": moved,
}


def any_scene(rng: random.Random) -> world.Scene:
    return rng.choice((world.single_scene, world.pair_scene, world.count_scene))(rng)


class Originals:
    """Scenes as they are, with which their altered pictures are compared."""

    def __init__(self, session: palm_demo.Session, scenes: list[world.Scene]):
        self.session, self.scenes = session, scenes
        self.hashes, self.embeddings = self._read([world.render(scene, SIDE) for scene in scenes])

    def passing(self, altered: Altered) -> list[float]:
        """The fraction whose hash is near enough, then the fractions that each of COSINES admits too."""
        hashes, embeddings = self._read([altered(scene) for scene in self.scenes])
        near = np.bitwise_count(hashes ^ self.hashes) <= PHASH_BITS
        cosines = (embeddings * self.embeddings).sum(axis=1)
        return [float(near.mean()), *(float(np.mean(near & (cosines >= least))) for least in COSINES)]

    def _read(self, images: list[Image.Image]) -> tuple[np.ndarray, np.ndarray]:
        hashes = np.array([perceptual_hash(image) for image in images], np.uint64)
        return hashes, self.session.embed_images(images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=150, help="scenes")
    given = parser.parse_args()
    originals = Originals(palm_demo.load(), Cases(given.cases, world.Atlas.load()).draw("copies", any_scene))
    header = ["picture", "must be", f"hash: {PHASH_BITS} bits", *(f"and cosine {least}" for least in COSINES)]
    rows = [
        [name, what, *(f"{part:.3f}" for part in originals.passing(altered))]
        for what, some in (("a copy", COPIES), ("another picture", OTHERS))
        for name, altered in some.items()
    ]
    print(table(header, rows))


if __name__ == "__main__":
    main()
