"""Loads a session's models, from the bundled weights or from the released ones of a profile."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import torch

from palm_demo import checkpoints, world
from palm_demo.checkpoints import from_reference, open_weights
from palm_demo.checkpoints.bundled import PaLMConfig
from palm_demo.checkpoints.registry import embedding_rows, read_lm_config
from palm_demo.concurrency import locked_cached_property
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

MOST_PREFIX_BYTES = 16_000_000
"""The largest size of a bundled model's prefix cache, in bytes: that of eight prompts that fill the context.

Larger caches fill for thousands of calls, and the memory of a page would grow as long."""

M = TypeVar("M")


@dataclass(frozen=True, eq=False)
class LoadedModel(Generic[M]):
    """A model and what is known about it.

    Attributes:
        model: the network, ready to compute.
        tokenizer: that it was trained with.
        context: tokens that prompt and answer may have together.
        limits: how many texts it writes at once, and how many wait.
        metadata: name, trained_on, knows and licence, for the page.
        bundled: whether the weights are those that come with the package.
        in_8_bits: whether a CPU rounds its weights to 8 bits.
    """

    model: M
    tokenizer: Tokenizer
    context: int
    limits: BatchLimits
    metadata: Mapping[str, str]
    bundled: bool
    in_8_bits: bool = False


@dataclass(frozen=True, eq=False)
class LoadedModels:
    """The models of a session.

    Attributes:
        frames: frames that Flamingo reads of a video.
        form: the form of the texts that this Flamingo was trained on.
        ood: the OOD detector for the training pictures of Flamingo and MaMMUT, if there is one.
    """

    palm: LoadedModel[PaLM]
    flamingo: LoadedModel[Flamingo]
    mammut: LoadedModel[MaMMUT | Captioner]
    frames: int
    form: PromptForm = OURS
    ood: OODDetector | None = None

    @property
    def all(self) -> tuple[LoadedModel, ...]:
        """The three models."""
        return self.palm, self.flamingo, self.mammut


def bundled_metadata(name: str) -> dict[str, str]:
    """Name, trained_on, knows and licence of a bundled model."""
    nouns = len(world.concepts())
    pictures = f"scenes drawn from {nouns} kinds of things in {len(world.STYLES)} drawing styles"
    metadata = {
        "palm": {
            "name": "PaLM",
            "trained_on": "public-domain English books and sentences about the picture world",
            "knows": "how old novels sound; it continues a text, it does not chat or know facts",
        },
        "flamingo": {
            "name": "Flamingo",
            "trained_on": f"questions about {pictures}, still and moving, and about imagined photographs",
            "knows": (
                "what a picture shows and where, which of several pictures shows a thing, background "
                "colours, how many things there are, which way a thing moves and whether it grows, new "
                "words for things it never saw, from one example each; drawings of everyday things and "
                "photographs of one thing"
            ),
        },
        "mammut": {
            "name": "MaMMUT",
            "trained_on": f"{pictures}, and what ImageNet's classifier says of photographs",
            "knows": (
                f"{nouns} everyday things as drawings, one or two at a time, and photographs of one thing of "
                "a thousand kinds"
            ),
        },
    }[name]
    return {**metadata, "licence": "MIT, with this package"}


WEIGHTS = ASSETS / "weights"


class Bundled:
    """The bundled models, each loaded when it is asked for. They share one tower, one tokenizer and one
    PaLM.

    Raises CheckpointError when weights are missing or damaged.
    """

    def __init__(self, limits: BatchLimits):
        prefix_bytes = min(limits.prefix_bytes, MOST_PREFIX_BYTES)
        self.limits = replace(limits, prefix_bytes=prefix_bytes)

    @locked_cached_property
    def palm(self) -> LoadedModel[PaLM]:
        return self._loaded("palm", self._palm[0])

    @locked_cached_property
    def flamingo(self) -> LoadedModel[Flamingo]:
        path = WEIGHTS / "flamingo.safetensors"
        return self._loaded("flamingo", checkpoints.load_flamingo(path, self._palm[0], self._tower))

    @locked_cached_property
    def mammut(self) -> LoadedModel[MaMMUT]:
        return self._loaded("mammut", checkpoints.load_mammut(WEIGHTS / "mammut.safetensors", self._tower))

    @locked_cached_property
    def ood(self) -> OODDetector:
        return checkpoints.load_ood_detector(WEIGHTS / "ood.safetensors")

    @locked_cached_property
    def _tokenizer(self) -> BundledTokenizer:
        return BundledTokenizer.load(ASSETS / "tokenizer.json")

    @locked_cached_property
    def _tower(self) -> VisionTower:
        return checkpoints.load_tower(WEIGHTS / "tower.safetensors", ASSETS / "vision")

    @locked_cached_property
    def _palm(self) -> tuple[PaLM, PaLMConfig]:
        palm, config = checkpoints.load_palm(WEIGHTS / "palm.safetensors")
        for path in sorted((WEIGHTS / "scopes").glob("*.safetensors")):
            checkpoints.load_scope(path, palm, path.stem)
        return palm, config

    def _loaded(self, name: str, model) -> LoadedModel:
        _, config = self._palm
        return LoadedModel(
            model, self._tokenizer, config.context, self.limits, bundled_metadata(name), bundled=True
        )


Files = Mapping[File, Path]


def read_palm(choice: PalmChoice, files: Files, device: str, limits: BatchLimits) -> LoadedModel[PaLM]:
    """Reads a released PaLM. Raises CheckpointError if a file is not what the profile says."""
    palm = from_reference(choice.layout, open_weights(files[choice.weights]), **_on_device(choice, device))
    return _loaded(choice, palm, NeoXTokenizer.load(files[choice.tokenizer]), choice.context, limits)


def read_flamingo(
    choice: FlamingoChoice, files: Files, device: str, limits: BatchLimits
) -> LoadedModel[Flamingo]:
    """Reads a released Flamingo with its tower. Raises CheckpointError if a file is not what the profile
    says."""
    weights, lm_config = open_weights(files[choice.weights]), read_lm_config(files[choice.config])
    rows = embedding_rows(weights, lm_config)
    tokenizer = OpenFlamingoTokenizer.extend(files[choice.tokenizer], rows)
    tower = from_reference(
        "clip-tower",
        open_weights(files[choice.tower.weights]),
        heads=choice.tower.heads,
        activation=choice.tower.activation,
        **_on_device(choice, device),
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
        **_on_device(choice, device),
    )
    return _loaded(choice, flamingo, tokenizer, choice.context, limits)


def read_mammut(
    choice: MammutChoice, files: Files, device: str, limits: BatchLimits
) -> LoadedModel[Captioner]:
    """Reads a released MaMMUT. Raises CheckpointError if a file is not what the profile says."""
    heads = {"heads": choice.heads, "text_heads": choice.text_heads}
    if choice.pool_heads is not None:
        heads["pool_heads"] = choice.pool_heads
    tensors = open_weights(files[choice.weights])
    captioner = from_reference(choice.layout, tensors, **heads, **_on_device(choice, device))
    return _loaded(choice, captioner, ClipTokenizer(), captioner.context, limits)


def _on_device(choice: Choice, device: str) -> dict:
    return {"device": device, "dtype": getattr(torch, choice.dtype)}


def _loaded(choice: Choice, model, tokenizer: Tokenizer, context: int, limits: BatchLimits) -> LoadedModel:
    rows = replace(limits, rows=min(limits.rows, choice.rows))
    metadata = {name: getattr(choice, name) for name in ("name", "trained_on", "knows", "licence")}
    in_8_bits = isinstance(choice, PalmChoice) and choice.quantize == "int8"
    return LoadedModel(model, tokenizer, context, rows, metadata, bundled=False, in_8_bits=in_8_bits)
