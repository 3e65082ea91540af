"""What OpenFlamingo's files call their tensors: one name for each, whatever it is wrapped in.

A file is flat, or has the tensors under "model_state_dict", each beginning with "module.". It may call
the bridges and blocks by more than one name: the model that was saved held them in several lists.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from palm_demo.checkpoints.reference.naming import Rules
from palm_demo.checkpoints.stored import StoredTensors, outlines, source_of
from palm_demo.errors import CheckpointError

NESTED = "model_state_dict"
WRAPPED = "module."
LM = "lang_encoder."
BUFFERS = re.compile(r"\.attention\.(bias|masked_bias)$|\.rotary_emb\.inv_freq$")
"""Masks and angles that transformers once saved beside its weights, and makes anew today."""


@dataclass(frozen=True)
class Family:
    """A kind of language model by its parts' names. head: None where it is the embedding."""

    layers: str
    embedding: str
    norm: str
    head: str | None

    def block(self, layer: int) -> str:
        return f"{self.layers}.{layer}."

    def bridge(self, layer: int) -> str:
        return f"{self.block(layer)}gated_cross_attn_layer."

    @property
    def rules(self) -> Rules:
        """From our names to these."""
        block = rf"{self.layers}.\1."
        bridge = rf"{block}gated_cross_attn_layer."
        return (
            (r"^encoder\.resampler\.", "perceiver."),
            (r"^bridges\.(\d+)\.attention_gate$", rf"{bridge}attn_gate"),
            (r"^bridges\.(\d+)\.(ff|ff_gate)\b", rf"{bridge}\2"),
            (r"^bridges\.(\d+)\.(?:attention\.)?", rf"{bridge}attn."),
            (r"^decoder\.blocks\.(\d+)\.", block),
            (r"^decoder\.embedding\.", f"{self.embedding}."),
            (r"^decoder\.norm\.", f"{self.norm}."),
            (r"^decoder\.head\.", f"{self.head}."),
        )

    @property
    def aliases(self) -> Rules:
        """From other names that files have to these."""
        return (
            (rf"^{LM}gated_cross_attn_layers\.(\d+)\.", rf"{self.layers}.\1.gated_cross_attn_layer."),
            (rf"^{LM}old_decoder_blocks\.(\d+)\.", rf"{self.layers}.\1."),
            (rf"^({re.escape(self.layers)}\.\d+)\.decoder_layer\.", r"\1."),
            (rf"^{LM}(lm_head|embed_out)\.", f"{self.head or self.embedding}."),
        )

    def name(self, theirs: str) -> str:
        for pattern, replacement in self.aliases:
            theirs = re.sub(pattern, replacement, theirs)
        return theirs


FAMILIES = {
    "gpt_neox": Family(
        layers=f"{LM}gpt_neox.layers",
        embedding=f"{LM}gpt_neox.embed_in",
        norm=f"{LM}gpt_neox.final_layer_norm",
        head=f"{LM}embed_out",
    ),
    "mpt": Family(
        layers=f"{LM}transformer.blocks",
        embedding=f"{LM}transformer.wte",
        norm=f"{LM}transformer.norm_f",
        head=f"{LM}lm_head",
    ),
}
"""By what transformers calls the kind of model."""


Place = tuple[Mapping[str, Tensor], str]
"""Where a tensor is: among which, and by what name there."""


class Gathered:
    """The tensors of a checkpoint, and of the language model's own where it lacks them, each under its
    one name. outlines: their shapes; the tensors themselves are read when asked for."""

    def __init__(self, checkpoint: Mapping[str, Tensor], lm_weights: Mapping[str, Tensor], family: Family):
        checkpoint = checkpoint.get(NESTED, checkpoint)
        wrapped = WRAPPED if all(name.startswith(WRAPPED) for name in checkpoint) else ""
        self.copies: list[tuple[Place, Place]] = []
        self.places = {
            **self._placed({f"{LM}{name}": (lm_weights, name) for name in lm_weights}, family),
            **self._placed({name.removeprefix(wrapped): (checkpoint, name) for name in checkpoint}, family),
        }
        self.outlines = {name: outlines(source)[theirs] for name, (source, theirs) in self.places.items()}

    def _placed(self, found: Mapping[str, Place], family: Family) -> dict[str, Place]:
        """By their one name, of which what is there once more is noted as a copy."""
        placed: dict[str, Place] = {}
        for theirs, place in found.items():
            if BUFFERS.search(theirs):
                continue
            name = family.name(theirs)
            if name in placed:
                self.copies.append((placed[name], place))
            else:
                placed[name] = place
        return placed

    def read(self, name: str) -> Tensor:
        """Never the caller's own memory."""
        source, theirs = self.places[name]
        tensor = source[theirs].detach()
        return tensor if isinstance(source, StoredTensors) else tensor.clone()

    def source(self, name: str) -> str:
        """What a message calls the place that it comes from."""
        return source_of(*self.places[name])

    def check_copies(self) -> None:
        """Raises CheckpointError where a tensor that is there by two names is not the same by both. On
        the meta device shapes are all there is to compare."""
        for (source, name), (_, other) in self.copies:
            one, same = source[name], source[other]
            if one.shape != same.shape or not (one.is_meta or torch.equal(one, same)):
                raise CheckpointError(
                    f"{other} is not the tensor that this checkpoint has as {name}, and both are one of "
                    "OpenFlamingo's; download it again"
                )
