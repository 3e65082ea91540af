"""The base class of a session's models: the network with its tokenizer, its engine, and its queue."""

import time
from collections.abc import Sequence
from typing import Generic, TypeVar

import torch
from PIL import Image
from torch import Tensor, nn

from palm_demo.concurrency import FairQueue, run_in_thread
from palm_demo.inference.decoding import to_device
from palm_demo.inference.engine import Engine
from palm_demo.models.vision import VisionTower
from palm_demo.session.loaded_models import LoadedModel

M = TypeVar("M", bound=nn.Module)

READ_SIDE = 1024
"""The longer side of a picture or frame in a session, in pixels: more than any tower reads."""


class Part(Generic[M]):
    """One model of a session and its verbs.

    Attributes:
        model: the network.
        tokenizer: that of the model, with its special tokens.
        context: tokens that a prompt and its answer may have together.
        limits: how many texts it writes at once, and how many wait.
        bundled: whether the weights are those that come with the package.
        engine: its continuous batch, in which the texts of all callers are written side by side.
        turns: the queue of all other passes, which the parts of a session share.
    """

    def __init__(self, loaded: LoadedModel[M], turns: FairQueue, min_tokens: int = 0):
        """
        Args:
            loaded: the model and what is known about it.
            turns: see the class.
            min_tokens: tokens of prompt and answer together before a text may end by itself.
        """
        self.model, self.tokenizer, self.context = loaded.model, loaded.tokenizer, loaded.context
        self.limits, self.bundled, self._metadata = loaded.limits, loaded.bundled, loaded.metadata
        self.turns = turns
        self.engine = Engine(self.model, self.tokenizer, self.context, self.limits, min_tokens)

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return next(iter(self.model.parameters())).device

    @property
    def about(self) -> dict[str, str | int]:
        """Name, trained_on, knows, licence and number of parameters."""
        return {**self._metadata, "parameters": self._count_parameters()}

    def _count_parameters(self) -> int:
        return sum(weight.numel() for weight in self.model.parameters())


def close(parts: Sequence[Part], turns: FairQueue, grace_seconds: float) -> None:
    """Closes the parts of a session together; see `Session.close`."""
    until = time.monotonic() + grace_seconds
    turns.close(grace_seconds)
    for part in parts:
        part.engine.batch.close(max(0.0, until - time.monotonic()))


@run_in_thread
def preprocess(frames: Sequence[Image.Image], tower: VisionTower, device: torch.device) -> Tensor:
    """Pictures or frames as the tower's input, (frames, 3, size, size), on the device."""
    return to_device(tower.preprocess(frames), device)
