"""Three models on one tower and one tokenizer, and how pictures and videos reach them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from palm_demo.about import describe
from palm_demo.familiarity import Familiarity
from palm_demo.gallery import MEMORY
from palm_demo.generation import BatchLimits, TextSettings
from palm_demo.media import MediaLimits, Medium, Picture, open_image, open_medium
from palm_demo.models import Flamingo, MaMMUT, PaLM
from palm_demo.threads import apart
from palm_demo.tokenizer import Tokenizer
from palm_demo.writing import Writer

IMAGES_AT_ONCE = 64
"""Pictures the tower reads in one pass, which bounds the memory of a long list."""

CONTINUED = TextSettings(temperature=0.7, top_p=0.9, repetition_penalty=1.1, max_new_tokens=64)
ANSWERED = TextSettings(temperature=0.0, max_new_tokens=32)
"""What `stream` and `stream_answer` write with where a caller says nothing else."""


class Loaded:
    """What the verbs of all three systems need."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        palm: PaLM,
        flamingo: Flamingo,
        mammut: MaMMUT,
        familiarity: Familiarity,
        context: int,
        media_limits: MediaLimits,
        batch_limits: BatchLimits,
        gallery_place: str | Path = MEMORY,
    ):
        """context: tokens that prompt and answer may have together. gallery_place: see `open_gallery`."""
        self.tokenizer = tokenizer
        self.palm, self.flamingo, self.mammut = palm, flamingo, mammut
        self._familiarity = familiarity
        self.context, self.media_limits = context, media_limits
        self.gallery_place = gallery_place
        models = {"palm": palm, "flamingo": flamingo, "mammut": mammut}
        self.writers = {
            name: Writer(model, tokenizer, context, batch_limits) for name, model in models.items()
        }

    def close(self) -> None:
        """Ends all texts that are being written, and waits for that."""
        for writer in self.writers.values():
            writer.batch.close()

    @property
    def about(self) -> dict[str, dict[str, str | int]]:
        """For each system its name, parameters, what it was trained on and what it knows."""
        return describe(self.palm, self.flamingo, self.mammut)

    @property
    def dim_latents(self) -> int:
        """Numbers of a latent."""
        return self.mammut.dim_latents

    def _pixels(self, medium: Medium) -> Tensor:
        """(frames, 3, size, size), of a picture (3, size, size)."""
        frames = open_medium(medium, self.flamingo.encoder.max_frames, self.media_limits)
        pixels = self._preprocessed(frames)
        return pixels if len(frames) > 1 else pixels[0]

    def _batches(self, images: Sequence[Picture]) -> Iterator[Tensor]:
        for start in range(0, len(images), IMAGES_AT_ONCE):
            some = images[start : start + IMAGES_AT_ONCE]
            opened = [open_image(image, self.media_limits) for image in some]
            yield self._preprocessed(opened)

    @apart
    def _preprocessed(self, frames: Sequence[Image.Image]) -> Tensor:
        return self.mammut.tower.preprocess(frames).to(self._device)

    @property
    def _device(self) -> torch.device:
        return self.palm.decoder.embedding.weight.device
