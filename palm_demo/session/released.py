"""Released weights as systems: from a profile's choices and their files."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from palm_demo.checkpoints import from_reference, open_weights
from palm_demo.checkpoints.released import embedding_rows, read_lm_config
from palm_demo.clip import ClipTokenizer
from palm_demo.generation import BatchLimits
from palm_demo.models import Flamingo, PaLM
from palm_demo.models.captioner import Captioner
from palm_demo.profiles import Choice, File, FlamingoChoice, MammutChoice, PalmChoice
from palm_demo.session.systems import System
from palm_demo.tokenizer import NeoXTokenizer, OpenFlamingoTokenizer, Words

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


def _system(choice: Choice, model, tokenizer: Words, context: int, limits: BatchLimits) -> System:
    rows = replace(limits, rows=min(limits.rows, choice.rows))
    told = {name: getattr(choice, name) for name in ("name", "trained_on", "knows", "licence")}
    return System(model, tokenizer, context, rows, told, bundled=False)
