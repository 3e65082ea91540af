"""OpenFlamingo's released weights (Awadalla et al. 2023): 4B on GPT-NeoX, 9B on MPT.

A file is flat, or has the tensors under "model_state_dict", each name beginning with "module.". It may
have several names for a cross-attention layer or block, because the model that was saved held them in
several lists.

A released file holds what was trained: the resampler, the cross-attention layers and the language
model's resized embeddings. The rest of the language model is in a file of its own, which is given
beside it. A file that holds the whole language model needs no other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from palm_demo.checkpoints.files import mismatch
from palm_demo.checkpoints.lazy_state_dict import InferredSizes, StoredTensors, meta_tensors, source_of
from palm_demo.checkpoints.lucidrains_layouts import Rules, renamed
from palm_demo.checkpoints.numeric_checks import check_tensor
from palm_demo.errors import CheckpointError, MissingExtraError
from palm_demo.installation import pip_install
from palm_demo.models.cross_attention import GatedCrossAttention
from palm_demo.models.flamingo import Flamingo
from palm_demo.models.media_encoder import MediaEncoder
from palm_demo.models.resampler import NoPositions, PerceiverResampler
from palm_demo.models.transformer import LMBackbone, TransformerConfig
from palm_demo.models.vision import freeze_

NESTED = "model_state_dict"
WRAPPED = "module."
LM = "lang_encoder."
BUFFERS = re.compile(r"\.attention\.(bias|masked_bias)$|\.rotary_emb\.inv_freq$")
"""Masks and angles that older versions of transformers stored beside its weights."""


@dataclass(frozen=True)
class Family:
    """The names of the modules of one kind of language model.

    Attributes:
        layers: prefix of the blocks.
        embedding, norm: the embedding and the last norm.
        head: None if it is tied to the embedding.
    """

    layers: str
    embedding: str
    norm: str
    head: str | None

    def block(self, layer: int) -> str:
        """The prefix of a block's names."""
        return f"{self.layers}.{layer}."

    def cross_attn(self, layer: int) -> str:
        """The prefix of a cross-attention layer's names."""
        return f"{self.block(layer)}gated_cross_attn_layer."

    @property
    def rules(self) -> Rules:
        """Rules from our names to the file's."""
        block = rf"{self.layers}.\1."
        cross_attn = rf"{block}gated_cross_attn_layer."
        return (
            (r"^encoder\.resampler\.", "perceiver."),
            (r"^cross_attention\.(\d+)\.attention_gate$", rf"{cross_attn}attn_gate"),
            (r"^cross_attention\.(\d+)\.(ff|ff_gate)\b", rf"{cross_attn}\2"),
            (r"^cross_attention\.(\d+)\.(?:attention\.)?", rf"{cross_attn}attn."),
            (r"^decoder\.blocks\.(\d+)\.", block),
            (r"^decoder\.embedding\.", f"{self.embedding}."),
            (r"^decoder\.norm\.", f"{self.norm}."),
            (r"^decoder\.head\.", f"{self.head}."),
        )

    @property
    def aliases(self) -> Rules:
        """Rules from other names that files have to the usual ones."""
        return (
            (rf"^{LM}gated_cross_attn_layers\.(\d+)\.", rf"{self.layers}.\1.gated_cross_attn_layer."),
            (rf"^{LM}old_decoder_blocks\.(\d+)\.", rf"{self.layers}.\1."),
            (rf"^({re.escape(self.layers)}\.\d+)\.decoder_layer\.", r"\1."),
            (rf"^{LM}(lm_head|embed_out)\.", f"{self.head or self.embedding}."),
        )

    def name(self, theirs: str) -> str:
        """The usual name of a tensor."""
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
"""Families by transformers' name of the kind of model."""


Place = tuple[Mapping[str, Tensor], str]
"""Where a tensor is: the mapping, and its name there."""


class Gathered:
    """The tensors of a checkpoint and, where it lacks them, of the language model, each under one name.

    Attributes:
        meta_tensors: their shapes. The tensors themselves are read when they are asked for.
        copies: places of tensors that are there under two names.
    """

    def __init__(self, checkpoint: Mapping[str, Tensor], lm_weights: Mapping[str, Tensor], family: Family):
        checkpoint = checkpoint.get(NESTED, checkpoint)
        wrapped = WRAPPED if all(name.startswith(WRAPPED) for name in checkpoint) else ""
        self.copies: list[tuple[Place, Place]] = []
        self.places = {
            **self._placed({f"{LM}{name}": (lm_weights, name) for name in lm_weights}, family),
            **self._placed({name.removeprefix(wrapped): (checkpoint, name) for name in checkpoint}, family),
        }
        self.meta_tensors = {
            name: meta_tensors(source)[theirs] for name, (source, theirs) in self.places.items()
        }

    def _placed(self, found: Mapping[str, Place], family: Family) -> dict[str, Place]:
        """Places by the usual name. Further places of the same tensor are noted as copies."""
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
        """A tensor that does not share the caller's memory."""
        source, theirs = self.places[name]
        tensor = source[theirs].detach()
        return tensor if isinstance(source, StoredTensors) else tensor.clone()

    def source(self, name: str) -> str:
        """The name of a tensor's source for error messages."""
        return source_of(*self.places[name])

    def check_copies(self) -> None:
        """Raises CheckpointError where a tensor with two names is not the same under both.

        On the meta device only shapes can be compared.
        """
        for (source, name), (_, other) in self.copies:
            one, same = source[name], source[other]
            if one.shape != same.shape or not (one.is_meta or torch.equal(one, same)):
                raise CheckpointError(
                    f"{other} is not the tensor that this checkpoint has as {name}, and both are one of "
                    "OpenFlamingo's; download it again"
                )


LAYOUT = "openflamingo"
HEADS = 8
"""Heads of the resampler and of cross-attention in all released models. The tensors do not show it."""


def read_openflamingo(
    tensors: Mapping[str, Tensor],
    *,
    lm_config,
    media_token_id: int,
    every: int,
    lm_weights: Mapping[str, Tensor] | None = None,
    tower: nn.Module | None = None,
    heads: int = HEADS,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Flamingo:
    """Reads an OpenFlamingo.

    It knows pictures only: a video's frames are pictures to it.

    Args:
        tensors: the released file's.
        lm_config: transformers' config of the language model, GPT-NeoX or MPT.
        media_token_id: the id of `<image>`.
        every: a cross-attention layer before every n-th block, beginning with the n-th.
        lm_weights: the language model's own weights by transformers' names, for what `tensors` lack.
        tower: pixels to patches; without one, patches are given instead of pixels.
        heads: of the resampler and the cross-attention layers.
        device, dtype: of the weights; by default their device and the resampler's dtype.

    Raises CheckpointError that names the first tensors that are missing, unexpected or of a wrong
    shape, and for another kind of language model; MissingExtraError if transformers is not installed.
    """
    family = _family(lm_config)
    given = Gathered(tensors, lm_weights or {}, family)
    sizes = InferredSizes(LAYOUT, given.meta_tensors)
    with torch.device("meta"):
        encoder = MediaEncoder(None, _resampler(sizes, heads), NoPositions(), max_frames=0)
        decoder = _decoder(sizes, family, lm_config, media_token_id)
        cross_attention = _cross_attention(sizes, family, every, decoder.config, encoder.dim, heads)
        model = Flamingo(decoder, encoder, media_token_id, "immediate", cross_attention)
    _fill(model, given, family, device, dtype)
    if tower is not None:
        model.encoder.tower = freeze_(tower)
    return model.eval()


def read_lm_config(path: Path):
    """Reads transformers' config of OpenFlamingo's language model from its `config.json`.

    Raises CheckpointError for another kind of model, and MissingExtraError without transformers.
    """
    towers = _towers()
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        return towers.CONFIGS[config["model_type"]].from_dict(config)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} does not describe a language model of kind {' or '.join(FAMILIES)} ({error!r}); use the "
            "config.json of OpenFlamingo's"
        ) from error


def embedding_rows(tensors: Mapping[str, Tensor], lm_config) -> int:
    """The number of rows of the language model's embedding. Raises CheckpointError if there is none."""
    family = _family(lm_config)
    sizes = InferredSizes(LAYOUT, Gathered(tensors, {}, family).meta_tensors)
    return sizes.shape(f"{family.embedding}.weight", 2)[0]


def _towers() -> ModuleType:
    try:
        from palm_demo.models import hf_language_models
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"OpenFlamingo needs {error.name}, which is not installed; {pip_install('openflamingo')}"
        ) from error
    return hf_language_models


def _family(lm_config) -> Family:
    kind = getattr(lm_config, "model_type", None)
    if kind not in FAMILIES:
        raise CheckpointError(
            f"{LAYOUT} stands on a language model of kind {' or '.join(FAMILIES)}, and lm_config is of kind "
            f"{kind!r}; give transformers' config of one of them"
        )
    tied = lm_config.tie_word_embeddings
    return replace(FAMILIES[kind], head=None) if tied else FAMILIES[kind]


def _resampler(sizes: InferredSizes, heads: int) -> PerceiverResampler:
    latents, dim = sizes.shape("perceiver.latents", 2)
    name = "perceiver.layers.0.0.to_q.weight"
    inner, _ = sizes.shape(name, 2)
    dim_head = sizes.multiple(name, inner, heads, "heads")
    return PerceiverResampler(dim, sizes.depth("perceiver.layers"), heads, dim_head, latents)


def _decoder(sizes: InferredSizes, family: Family, lm_config, media_token_id: int) -> LMBackbone:
    if not any(name.startswith(family.block(0)) and ".gated_" not in name for name in sizes.tensors):
        raise CheckpointError(
            "this checkpoint holds none of the language model's own blocks, as those that were released; "
            "give that model's weights too, as lm_weights"
        )
    rows, _ = sizes.shape(f"{family.embedding}.weight", 2)
    if not 0 <= media_token_id < rows:
        raise CheckpointError(
            f"media_token_id is {media_token_id} and the embedding has rows 0 to {rows - 1}; give the "
            "tokenizer's id of <image>"
        )
    return _towers().BACKBONES[lm_config.model_type](lm_config, rows)


def _cross_attention(
    sizes: InferredSizes, family: Family, every: int, size: TransformerConfig, dim_media: int, heads: int
) -> dict[int, GatedCrossAttention]:
    if not 1 <= every <= size.depth:
        raise CheckpointError(f"every is {every}; it can be 1 to {size.depth}, the blocks there are")
    cross_attention = {}
    for layer in range(every - 1, size.depth, every):
        name = f"{family.cross_attn(layer)}attn.to_q.weight"
        inner, _ = sizes.shape(name, 2)
        dim_head = sizes.multiple(name, inner, heads, "heads")
        cross_attention[layer] = GatedCrossAttention(size.dim, dim_media, heads, dim_head)
    return cross_attention


def _fill(
    model: Flamingo,
    given: Gathered,
    family: Family,
    device: torch.device | str | None,
    dtype: torch.dtype | None,
) -> None:
    """Loads the weights into the model, one tensor in memory at a time."""
    empty = model.state_dict()
    made = {"media_embedding", "encoder.frame_positions"}  # no tensors of the file
    names = renamed(sorted(empty.keys() - made), family.rules)
    if problems := mismatch(
        {theirs: tuple(empty[ours].shape) for ours, theirs in names.items()}, given.meta_tensors
    ):
        raise CheckpointError(f"these tensors do not fit {LAYOUT}: {problems}")
    given.check_copies()
    dtype = dtype or given.meta_tensors["perceiver.latents"].dtype
    weights = {}
    for ours, theirs in names.items():
        weights[ours] = given.read(theirs).to(device=device, dtype=dtype)
        check_tensor(theirs, weights[ours], given.source(theirs), may_be_zero=weights[ours].ndim < 2)
    embedding = weights["decoder.embedding.weight"]
    weights["media_embedding"] = embedding[model.media_token_id].clone()
    weights["encoder.frame_positions"] = embedding.new_empty(empty["encoder.frame_positions"].shape)
    model.load_state_dict(weights, assign=True)
