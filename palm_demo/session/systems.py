"""A model as a session uses it: with words of its own, as far as it reads, in a batch of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch

from palm_demo.about import parameters
from palm_demo.familiarity import Familiarity
from palm_demo.generation import BatchLimits
from palm_demo.models import Flamingo, MaMMUT, PaLM
from palm_demo.models.captioner import Captioner
from palm_demo.prompting import OURS, PromptForm
from palm_demo.tokenizer import Words
from palm_demo.writing import Writer

M = TypeVar("M")


class System(Generic[M]):
    """context: tokens that prompt and answer may have together. told: name, trained_on, knows and licence,
    for the page. bundled: whether the weights are those that came along."""

    def __init__(
        self,
        model: M,
        tokenizer: Words,
        context: int,
        limits: BatchLimits,
        told: Mapping[str, str],
        bundled: bool,
    ):
        self.model, self.tokenizer, self.context = model, tokenizer, context
        self.told, self.bundled = told, bundled
        least_tokens = model.least_tokens if isinstance(model, Captioner) else 0
        self.writer = Writer(model, tokenizer, context, limits, least_tokens)

    @property
    def device(self) -> torch.device:
        return next(iter(self.model.parameters())).device

    @property
    def about(self) -> dict[str, str | int]:
        """name, parameters, trained_on, knows, licence."""
        counted = self.model.decoder if isinstance(self.model, PaLM) else self.model  # without scopes
        return {**self.told, "parameters": parameters(counted)}


@dataclass(frozen=True)
class Systems:
    """The three of a session. form: how the texts look that this Flamingo learned from. frames: pictures
    that it is shown of a video, or its frames where it learned videos. familiarity: of the pictures that
    Flamingo and MaMMUT learned from, where it was measured."""

    palm: System[PaLM]
    flamingo: System[Flamingo]
    mammut: System[MaMMUT | Captioner]
    frames: int
    form: PromptForm = OURS
    familiarity: Familiarity | None = field(default=None)

    @property
    def by_name(self) -> dict[str, System]:
        return {"palm": self.palm, "flamingo": self.flamingo, "mammut": self.mammut}

    @property
    def knows_videos(self) -> bool:
        """Whether Flamingo learned videos; otherwise their frames are pictures to it."""
        return self.flamingo.model.encoder.max_frames > 0
