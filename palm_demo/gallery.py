"""The retrieval table: pictures with captions and unit latents, searched by cosine."""

from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Hit:
    """One found picture; score is the cosine, -1 to 1."""

    image: Image.Image
    caption: str
    score: float


class Gallery:
    """Pictures, what is said of them, and their latents (n, d), unit rows."""

    def __init__(self, images: list[Image.Image], captions: list[str], latents: np.ndarray):
        if not len(images) == len(captions) == len(latents):
            raise ValueError(
                f"{len(images)} pictures, {len(captions)} captions and {len(latents)} latents; "
                "a gallery needs one of each"
            )
        self.images, self.captions, self.latents = images, captions, latents

    def __len__(self) -> int:
        return len(self.images)

    def nearest(self, latent: np.ndarray, k: int) -> list[Hit]:
        """The k pictures nearest to a unit latent (d,), best first; all of them if k is more."""
        scores = self.latents @ latent
        order = np.argsort(-scores, kind="stable")[:k]
        return [Hit(self.images[i], self.captions[i], float(scores[i])) for i in order]
