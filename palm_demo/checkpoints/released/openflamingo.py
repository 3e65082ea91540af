"""OpenFlamingo's released weights (Awadalla et al. 2023): 4B on GPT-NeoX, 9B on MPT.

A released file holds what was trained, the resampler, the bridges and the language model's resized
embeddings; the rest of the language model is in a file of its own, which is given beside it. A file
that holds the whole language model needs no other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from palm_demo.bridges import GatedCrossAttention
from palm_demo.checkpoints.fitting import misfit
from palm_demo.checkpoints.numbers import check_tensor
from palm_demo.checkpoints.reference.naming import renamed
from palm_demo.checkpoints.released.openflamingo_names import FAMILIES, Family, Gathered
from palm_demo.checkpoints.sizing import Sizes
from palm_demo.decoder import Size
from palm_demo.errors import CheckpointError, MissingExtraError
from palm_demo.installation import pip_install
from palm_demo.models.flamingo import Flamingo
from palm_demo.models.media_encoder import MediaEncoder
from palm_demo.models.text_tower import TextTower
from palm_demo.resampler import PerceiverResampler, Unplaced
from palm_demo.vision import freeze_

LAYOUT = "openflamingo"
HEADS = 8
"""Of the resampler and the bridges, in all that was released; no tensor tells it."""


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
    """lm_config: of transformers' GPT-NeoX or MPT. media_token_id: of `<image>`. every: a bridge before
    every n-th block, the n-th the first. lm_weights: the language model's own, by transformers' names,
    where `tensors` lack them; where both have one, that of `tensors` counts. tower: pixels to patches;
    without one, patches are given instead. device, dtype: what the weights become; by default the device
    they are on and the dtype of the resampler's.

    It knows pictures only: a video's frames are pictures to it. Raises CheckpointError that names the first
    tensors that are missing, unexpected or wrongly shaped, and for a language model of another kind;
    MissingExtraError where transformers is not installed.
    """
    family = _family(lm_config)
    given = Gathered(tensors, lm_weights or {}, family)
    sizes = Sizes(LAYOUT, given.outlines)
    with torch.device("meta"):
        encoder = MediaEncoder(None, _resampler(sizes, heads), Unplaced(), max_frames=0)
        decoder = _decoder(sizes, family, lm_config, media_token_id)
        bridges = _bridges(sizes, family, every, decoder.size, encoder.dim, heads)
        model = Flamingo(decoder, encoder, media_token_id, "immediate", bridges)
    _fill(model, given, family, device, dtype)
    if tower is not None:
        model.encoder.tower = freeze_(tower)
    return model.eval()


def read_lm_config(path: Path):
    """transformers' config of a language model that OpenFlamingo stands on, from its `config.json`.

    Raises CheckpointError where it is none of them, MissingExtraError without transformers.
    """
    towers = _towers()
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        return towers.CONFIGS[described["model_type"]].from_dict(described)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} does not describe a language model of kind {' or '.join(FAMILIES)} ({error!r}); use the "
            "config.json of OpenFlamingo's"
        ) from error


def embedding_rows(tensors: Mapping[str, Tensor], lm_config) -> int:
    """How many tokens a checkpoint's language model knows. Raises CheckpointError where none can be seen."""
    family = _family(lm_config)
    sizes = Sizes(LAYOUT, Gathered(tensors, {}, family).outlines)
    return sizes.shape(f"{family.embedding}.weight", 2)[0]


def _towers() -> ModuleType:
    try:
        from palm_demo.models import transformers_towers
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"OpenFlamingo needs {error.name}, which is not installed; {pip_install('openflamingo')}"
        ) from error
    return transformers_towers


def _family(lm_config) -> Family:
    kind = getattr(lm_config, "model_type", None)
    if kind not in FAMILIES:
        raise CheckpointError(
            f"{LAYOUT} stands on a language model of kind {' or '.join(FAMILIES)}, and lm_config is of kind "
            f"{kind!r}; give transformers' config of one of them"
        )
    tied = lm_config.tie_word_embeddings
    return replace(FAMILIES[kind], head=None) if tied else FAMILIES[kind]


def _resampler(sizes: Sizes, heads: int) -> PerceiverResampler:
    latents, dim = sizes.shape("perceiver.latents", 2)
    name = "perceiver.layers.0.0.to_q.weight"
    inner, _ = sizes.shape(name, 2)
    dim_head = sizes.multiple(name, inner, heads, "heads")
    return PerceiverResampler(dim, sizes.depth("perceiver.layers"), heads, dim_head, latents)


def _decoder(sizes: Sizes, family: Family, lm_config, media_token_id: int) -> TextTower:
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
    return _towers().TOWERS[lm_config.model_type](lm_config, rows)


def _bridges(
    sizes: Sizes, family: Family, every: int, size: Size, dim_media: int, heads: int
) -> dict[int, GatedCrossAttention]:
    if not 1 <= every <= size.depth:
        raise CheckpointError(f"every is {every}; it can be 1 to {size.depth}, the blocks there are")
    bridges = {}
    for layer in range(every - 1, size.depth, every):
        name = f"{family.bridge(layer)}attn.to_q.weight"
        inner, _ = sizes.shape(name, 2)
        dim_head = sizes.multiple(name, inner, heads, "heads")
        bridges[layer] = GatedCrossAttention(size.dim, dim_media, heads, dim_head)
    return bridges


def _fill(
    model: Flamingo,
    given: Gathered,
    family: Family,
    device: torch.device | str | None,
    dtype: torch.dtype | None,
) -> None:
    """Weights in place of the outlines, one tensor in memory at a time."""
    empty = model.state_dict()
    made = {"media_embedding", "encoder.frame_positions"}  # no tensors of the file
    names = renamed(sorted(empty.keys() - made), family.rules)
    if said := misfit({theirs: tuple(empty[ours].shape) for ours, theirs in names.items()}, given.outlines):
        raise CheckpointError(f"these tensors do not fit {LAYOUT}: {said}")
    given.check_copies()
    dtype = dtype or given.outlines["perceiver.latents"].dtype
    weights = {}
    for ours, theirs in names.items():
        weights[ours] = given.read(theirs).to(device=device, dtype=dtype)
        check_tensor(theirs, weights[ours], given.source(theirs), may_be_zero=weights[ours].ndim < 2)
    embedding = weights["decoder.embedding.weight"]
    weights["media_embedding"] = embedding[model.media_token_id].clone()
    weights["encoder.frame_positions"] = embedding.new_empty(empty["encoder.frame_positions"].shape)
    model.load_state_dict(weights, assign=True)
