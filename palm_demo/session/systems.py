"""A model as a session uses it, from the weights that come along or from released ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import nn

from palm_demo import checkpoints, world
from palm_demo.checkpoints import from_reference, open_weights
from palm_demo.checkpoints.bundled import PaLMConfig
from palm_demo.checkpoints.registry import embedding_rows, read_lm_config
from palm_demo.concurrency import made_once
from palm_demo.inference.engine import Engine
from palm_demo.inference.prompts import OURS, PromptForm
from palm_demo.inference.settings import BatchLimits
from palm_demo.installation import ASSETS
from palm_demo.models import Flamingo, MaMMUT, PaLM
from palm_demo.models.captioner import Captioner
from palm_demo.models.ood import OODDetector
from palm_demo.models.tokenizers import (
    BundledTokenizer,
    ClipTokenizer,
    NeoXTokenizer,
    OpenFlamingoTokenizer,
    Tokenizer,
)
from palm_demo.models.vision import VisionTower
from palm_demo.profiles import Choice, File, FlamingoChoice, MammutChoice, PalmChoice

M = TypeVar("M")


class System(Generic[M]):
    """context: tokens that prompt and answer may have together. told: name, trained_on, knows and licence,
    for the page. bundled: whether the weights are those that came along."""

    def __init__(
        self,
        model: M,
        tokenizer: Tokenizer,
        context: int,
        limits: BatchLimits,
        told: Mapping[str, str],
        bundled: bool,
    ):
        self.model, self.tokenizer, self.context = model, tokenizer, context
        self.told, self.bundled = told, bundled
        least_tokens = model.least_tokens if isinstance(model, Captioner) else 0
        self.writer = Engine(model, tokenizer, context, limits, least_tokens)

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
    familiarity: OODDetector | None = field(default=None)

    @property
    def by_name(self) -> dict[str, System]:
        return {"palm": self.palm, "flamingo": self.flamingo, "mammut": self.mammut}

    @property
    def knows_videos(self) -> bool:
        """Whether Flamingo learned videos; otherwise their frames are pictures to it."""
        return self.flamingo.model.encoder.max_frames > 0


def of_bundled(system: str) -> dict[str, str]:
    """name, trained_on, knows, licence."""
    nouns = len(world.concepts())
    pictures = f"scenes drawn from {nouns} kinds of things in {len(world.STYLES)} drawing styles"
    told = {
        "palm": {
            "name": "PaLM",
            "trained_on": "public-domain English books and sentences about the picture world",
            "knows": "how old novels sound; it continues a text, it does not chat or know facts",
        },
        "flamingo": {
            "name": "Flamingo",
            "trained_on": f"questions about {pictures}, still and moving",
            "knows": (
                "what a picture shows and where, which of several pictures shows a thing, background "
                "colours, how many things there are, which way a thing moves and whether it grows, new "
                "words for things it never saw, from one example each; drawings only, no photographs"
            ),
        },
        "mammut": {
            "name": "MaMMUT",
            "trained_on": pictures,
            "knows": f"{nouns} everyday things as drawings, one or two at a time; not photographs",
        },
    }[system]
    return {**told, "licence": "MIT, with this package"}


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


WEIGHTS = ASSETS / "weights"


class Bundled:
    """One tower, one tokenizer and one PaLM for all three. Raises CheckpointError when weights are missing or
    damaged."""

    def __init__(self, limits: BatchLimits):
        self.limits = limits

    @made_once
    def palm(self) -> System[PaLM]:
        return self._system("palm", self._palm[0])

    @made_once
    def flamingo(self) -> System[Flamingo]:
        path = WEIGHTS / "flamingo.safetensors"
        return self._system("flamingo", checkpoints.load_flamingo(path, self._palm[0], self._tower))

    @made_once
    def mammut(self) -> System[MaMMUT]:
        return self._system("mammut", checkpoints.load_mammut(WEIGHTS / "mammut.safetensors", self._tower))

    @made_once
    def familiarity(self) -> OODDetector:
        return checkpoints.load_familiarity(WEIGHTS / "familiarity.safetensors")

    @made_once
    def _tokenizer(self) -> BundledTokenizer:
        return BundledTokenizer.load(ASSETS / "tokenizer.json")

    @made_once
    def _tower(self) -> VisionTower:
        return checkpoints.load_tower(WEIGHTS / "tower.safetensors", ASSETS / "vision")

    @made_once
    def _palm(self) -> tuple[PaLM, PaLMConfig]:
        palm, config = checkpoints.load_palm(WEIGHTS / "palm.safetensors")
        for path in sorted((WEIGHTS / "scopes").glob("*.safetensors")):
            checkpoints.load_scope(path, palm, path.stem)
        return palm, config

    def _system(self, name: str, model) -> System:
        _, config = self._palm
        return System(model, self._tokenizer, config.context, self.limits, of_bundled(name), bundled=True)


Files = Mapping[File, Path]


def palm_system(choice: PalmChoice, files: Files, device: str, limits: BatchLimits) -> System[PaLM]:
    """Raises CheckpointError where a file is not what the profile says, as all of these do."""
    palm = from_reference(choice.layout, open_weights(files[choice.weights]), **_place(choice, device))
    return _system(choice, palm, NeoXTokenizer.load(files[choice.tokenizer]), choice.context, limits)


def flamingo_system(
    choice: FlamingoChoice, files: Files, device: str, limits: BatchLimits
) -> System[Flamingo]:
    """With the tower that it learned from."""
    weights, lm_config = open_weights(files[choice.weights]), read_lm_config(files[choice.config])
    rows = embedding_rows(weights, lm_config)
    tokenizer = OpenFlamingoTokenizer.extend(files[choice.tokenizer], rows)
    tower = from_reference(
        "clip-tower",
        open_weights(files[choice.tower.weights]),
        heads=choice.tower.heads,
        activation=choice.tower.activation,
        **_place(choice, device),
    )
    flamingo = from_reference(
        choice.layout,
        weights,
        lm_config=lm_config,
        lm_weights=open_weights(files[choice.language_model]),
        media_token_id=tokenizer.media_id,
        every=choice.every,
        heads=choice.heads,
        tower=tower,
        **_place(choice, device),
    )
    return _system(choice, flamingo, tokenizer, choice.context, limits)


def mammut_system(choice: MammutChoice, files: Files, device: str, limits: BatchLimits) -> System[Captioner]:
    """As far as it has places for tokens."""
    heads = {"heads": choice.heads, "text_heads": choice.text_heads}
    if choice.pool_heads is not None:
        heads["pool_heads"] = choice.pool_heads
    tensors = open_weights(files[choice.weights])
    captioner = from_reference(choice.layout, tensors, **heads, **_place(choice, device))
    return _system(choice, captioner, ClipTokenizer(), captioner.context, limits)


def _place(choice: Choice, device: str) -> dict:
    return {"device": device, "dtype": getattr(torch, choice.dtype)}


def _system(choice: Choice, model, tokenizer: Tokenizer, context: int, limits: BatchLimits) -> System:
    rows = replace(limits, rows=min(limits.rows, choice.rows))
    told = {name: getattr(choice, name) for name in ("name", "trained_on", "knows", "licence")}
    return System(model, tokenizer, context, rows, told, bundled=False)
