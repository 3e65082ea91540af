"""Three systems, each with its own words, and how pictures and videos reach them."""

import time
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from palm_demo.arguments import Media, Picture, checked
from palm_demo.concurrency import Turns, in_line, piece, run_in_thread
from palm_demo.gallery import MEMORY
from palm_demo.inference.decoding import to_device
from palm_demo.media import DecodingBudget, MediaLimits, Medium, open_image, open_medium
from palm_demo.models import Flamingo, MaMMUT, PaLM
from palm_demo.models.captioner import Captioner
from palm_demo.models.vision import VisionTower
from palm_demo.session.systems import Systems

READ_SIDE = 1024
"""Pixels of the longer side of a picture or frame as sessions hold it: more than any tower looks at."""


class Loaded:
    """What the verbs of all three systems need."""

    def __init__(
        self,
        systems: Systems,
        media_limits: MediaLimits,
        gallery_place: str | Path = MEMORY,
        turns: Turns | None = None,
    ):
        """gallery_place: see `open_gallery`. turns: the line of all passes of models but those of texts that
        are written in a batch."""
        self.turns = turns or Turns()
        self.systems, self.media_limits = systems, media_limits
        self.gallery_place = gallery_place

    @property
    def palm(self) -> PaLM:
        return self.systems.palm.model

    @property
    def flamingo(self) -> Flamingo:
        return self.systems.flamingo.model

    @property
    def mammut(self) -> MaMMUT | Captioner:
        return self.systems.mammut.model

    def close(self, grace_seconds: float = 0.0) -> None:
        """Takes no more requests, and gives those there are so many seconds to end together; the rest end
        with ClosingError. Returns when nothing is written any more."""
        until = time.monotonic() + grace_seconds
        self.turns.close(grace_seconds)
        for system in self.systems.by_name.values():
            system.writer.batch.close(max(0.0, until - time.monotonic()))

    @property
    def about(self) -> dict[str, dict[str, str | int]]:
        """For each system its name, parameters, what it was trained on and what it knows."""
        return {name: system.about for name, system in self.systems.by_name.items()}

    @property
    def bundled(self) -> bool:
        """Whether all weights are those that came along."""
        return all(system.bundled for system in self.systems.by_name.values())

    @property
    def embedding_dim(self) -> int:
        """Numbers of an embedding."""
        return self.mammut.dim_latents

    @checked
    @in_line
    def opened(self, media: Media) -> list[Medium]:
        """The media of one request, decoded once, for all verbs that take media: each a picture, or a list
        of a video's frames. Raises MediaError for the first that cannot be read."""
        budget, opened = DecodingBudget(self.media_limits), []
        for medium in media:
            with piece():
                frames = open_medium(medium, self.systems.frames, self.media_limits, budget, READ_SIDE)
            opened.append(frames if len(frames) > 1 else frames[0])
        return opened

    @checked
    @in_line
    def opened_image(self, image: Picture) -> Image.Image:
        """A picture as the models read it: upright, in sRGB, on white, at most READ_SIDE wide and high."""
        with piece():
            return open_image(image, self.media_limits, READ_SIDE)

    @in_line
    def _pixels(self, images: Sequence[Picture]) -> Tensor:
        """(n, 3, size, size) for MaMMUT."""
        opened = []
        for image in images:
            with piece():
                opened.append(open_image(image, self.media_limits, READ_SIDE))
        return preprocessed(opened, self.mammut.tower, self.systems.mammut.device)


@run_in_thread
def preprocessed(frames: Sequence[Image.Image], tower: VisionTower, device: torch.device) -> Tensor:
    """(frames, 3, size, size) as the tower wants them."""
    return to_device(tower.preprocess(frames), device)
