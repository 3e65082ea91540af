"""Layouts of the lucidrains packages: their names of our tensors, and our model from their arguments.

A package's rules are (pattern, replacement) pairs that turn our names into its own, one after another.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor, nn

from palm_demo.models import Flamingo, MaMMUT, PaLM
from palm_demo.models.flamingo import cross_attention_at_every
from palm_demo.models.layers import MULTIMODAL, RLHF, TOOLFORMER, NormalizedQK, RoPE, Style, XPos
from palm_demo.models.lora import PROJECTIONS
from palm_demo.models.mammut import PooledMemory, causal_text_pass
from palm_demo.models.media_encoder import MediaEncoder
from palm_demo.models.palm import PaLMEncoder
from palm_demo.models.resampler import AttentionPool, PatchPositions, PerceiverResampler
from palm_demo.models.transformer import Decoder, TransformerConfig

Rules = tuple[tuple[str, str], ...]

TOWER = "img_encoder."
"""What the multimodal references put before the names of the vision tower, which are its own."""

_BLOCK: Rules = (
    (r"\.fused\.", ".fused_attn_ff_proj."),
    (r"\.attention_out\.", ".attn_out."),
    (r"\.qk\.query_gain$", ".q_scale"),
    (r"\.qk\.key_gain$", ".k_scale"),
)

PALM_RLHF_NAMES: Rules = (
    *_BLOCK,
    (r"^decoder\.embedding\.", "token_emb."),
    (r"^decoder\.blocks\.(\d+)\.", r"layers.\1.fn."),
    (r"\.ff_out\.", ".ff_out.2."),
    (r"^decoder\.norm\.", "norm."),
    (r"^scopes\.adapters\.@([^.]+)\.layers\.", r"finetune_modules.\1."),
    *((rf"\.{name}\.(up|down)$", rf".{place}.\1") for place, name in enumerate(PROJECTIONS)),
    (r"\.down$", ".A"),
    (r"\.up$", ".B"),
)

TOOLFORMER_NAMES: Rules = (
    *_BLOCK,
    (r"^decoder\.embedding\.", "emb."),
    (r"^decoder\.blocks\.", "transformer.layers."),
    (r"\.ff_out\.", ".ff_out.1."),
    (r"^decoder\.norm\.", "to_logits.0."),
    (r"^decoder\.head\.projection\.", "to_logits.1."),
    (r"\.gamma$", ".g"),
)

_MULTIMODAL: Rules = (
    (r"^tower\.", TOWER),
    *_BLOCK,
    (r"^decoder\.embedding\.", "token_emb."),
    (r"^decoder\.blocks\.(\d+)\.", r"layers.\1.0.fn."),
    (r"\.ff_out\.", ".ff_out.1."),
    (r"^decoder\.norm\.", "to_logits.0."),
)

FLAMINGO_NAMES: Rules = (
    (r"^encoder\.", ""),
    *_MULTIMODAL,
    (r"^resampler\.", "perceiver_resampler."),
    (r"^places\.positions$", "perceiver_resampler.media_pos_emb"),
    (r"^frame_positions$", "video_frame_pos_emb"),
    (r"^cross_attention\.(\d+)\.attention_gate$", r"layers.\1.1.attn_gate"),
    (r"^cross_attention\.(\d+)\.(ff|ff_gate)\b", r"layers.\1.1.\2"),
    (r"^cross_attention\.(\d+)\.(?:attention\.)?", r"layers.\1.1.attn."),
)

MAMMUT_NAMES: Rules = (
    *_MULTIMODAL,
    (r"^summary_norm\.", "text_cls_norm."),
    (r"^summary$", "text_cls_token"),
    (r"^pool\.queries$", "img_queries"),
    (r"^pool\.norm\.", "img_attn_pool_norm."),
    (r"^pool\.norm_queries\.", "img_attn_pool.norm."),
    (r"^pool\.norm_context\.", "img_attn_pool.context_norm."),
    (r"^pool\.attention\.", "img_attn_pool."),
    (r"^image_to_latents\.", "img_to_latents.to_latents."),
    (r"^text_to_latents\.", "text_to_latents.to_latents."),
    (r"^log_scale$", "temperature"),
    (r"^cross_attention\.(\d+)\.(?:attention\.)?", r"layers.\1.1.fn."),
)


def renamed(names: Iterable[str], rules: Rules) -> dict[str, str]:
    """Our name -> the reference's name. Whatever a vision tower calls its tensors stays as it is."""
    found = {}
    for name in names:
        theirs = name
        for pattern, replacement in rules:
            if not theirs.startswith(TOWER):
                theirs = re.sub(pattern, replacement, theirs)
        found[name] = theirs
    return found


MEDIA_PLACES = 4
"""Media that the reference's resampler has positions for. Its constructor does not let that be set."""


@dataclass(frozen=True)
class Layout:
    """The layout of one reference package.

    Attributes:
        build: (tensors, the reference constructor's arguments) -> our model with random weights.
        can_hold: whether the reference has the layers of a model of ours, which names do not show.
        rules: from our names to the reference's.
        telling: a tensor that only this layout has.
        tied_head: the name of the tied head, if there is one.
    """

    build: Callable[..., nn.Module]
    can_hold: Callable[[nn.Module], bool]
    rules: Rules
    telling: str
    tied_head: str | None


def palm_rlhf(
    tensors: Mapping[str, Tensor],
    *,
    dim: int,
    num_tokens: int,
    depth: int,
    causal: bool = True,
    dim_head: int = 64,
    heads: int = 8,
    ff_mult: int = 4,
    attn_dropout: float = 0.0,
    ff_dropout: float = 0.0,
    qk_rmsnorm: bool = False,
    lora_r: int = 8,
    rotary_xpos_scale_base: int = 512,
    flash_attn: bool = False,
    finetune_scopes: tuple[str, ...] = (),
    cross_entropy_ignore_index: int = 0,
) -> PaLM:
    """Our model for palm-rlhf-pytorch's arguments.

    It has the scopes in `finetune_scopes` and those found among the tensors, with the ranks they have
    there. Dropout, flash attention and the ignored label matter in training only.
    """
    size = TransformerConfig(dim, depth, heads, num_tokens, dim_head, ff_mult)
    style = replace(RLHF, rotary=partial(XPos, scale_base=rotary_xpos_scale_base))
    if not causal:
        style = replace(style, rotary=MULTIMODAL.rotary)
    if qk_rmsnorm:
        style = replace(style, qk=partial(NormalizedQK, softmax_scale=dim_head**-0.5))
    palm = (PaLM if causal else PaLMEncoder)(size, style)
    found = {name: match[1] for name in tensors if (match := re.match(r"finetune_modules\.([^.]+)\.", name))}
    for scope in dict.fromkeys((*finetune_scopes, *found.values())):
        first = tensors.get(f"finetune_modules.{scope}.0.0.A")
        palm.add_scope(scope, lora_r if first is None else first.shape[-1])
    return palm


def toolformer(
    tensors: Mapping[str, Tensor],
    *,
    dim: int,
    depth: int,
    num_tokens: int = 49_408,
    dim_head: int = 64,
    heads: int = 8,
    ff_mult: int = 4,
) -> PaLM:
    """Our model for toolformer-pytorch's arguments.

    num_tokens: by default those of the CLIP tokenizer that the reference imports.
    """
    return PaLM(TransformerConfig(dim, depth, heads, num_tokens, dim_head, ff_mult), TOOLFORMER)


def flamingo(
    tensors: Mapping[str, Tensor],
    *,
    dim: int,
    num_tokens: int,
    depth: int,
    dim_head: int = 64,
    heads: int = 8,
    ff_mult: int = 4,
    media_token_id: int = 3,
    cross_attn_every: int = 3,
    img_encoder: nn.Module | None = None,
    perceiver_num_latents: int = 64,
    perceiver_depth: int = 2,
    max_video_frames: int | None = None,
    only_attend_immediate_media: bool = True,
) -> Flamingo:
    """Our model for flamingo-pytorch's arguments. A copy of `img_encoder` gets the checkpoint's weights."""
    encoder = MediaEncoder(
        copy.deepcopy(img_encoder),
        PerceiverResampler(dim, perceiver_depth, heads, dim_head, perceiver_num_latents),
        PatchPositions(MEDIA_PLACES, dim),
        max_video_frames or 0,
    )
    size = TransformerConfig(dim, depth, heads, num_tokens, dim_head, ff_mult)
    return Flamingo(
        Decoder(size, MULTIMODAL),
        encoder,
        media_token_id,
        "immediate" if only_attend_immediate_media else "all",
        cross_attention_at_every(cross_attn_every, size, encoder.dim),
    )


def mammut(
    tensors: Mapping[str, Tensor],
    *,
    dim: int,
    num_tokens: int,
    depth: int,
    cross_attend_every: int = 1,
    cross_attend_layers: tuple[int, ...] | None = None,
    dim_latents: int | None = None,
    image_dim: int | None = None,
    num_img_queries: int = 256,
    dim_head: int = 64,
    heads: int = 8,
    ff_mult: int = 4,
    img_encoder: nn.Module | None = None,
    caption_loss_weight: float = 1.0,
    contrastive_loss_weight: float = 1.0,
    pad_id: int = 0,
) -> MaMMUT:
    """Our model for MaMMUT-pytorch's arguments.

    A copy of `img_encoder` gets the checkpoint's weights. cross_attend_layers count from 1. pad_id is
    not used: our losses and `embed_texts` are told which tokens are padding.
    """
    counted = range(1, depth + 1)
    crossing = [layer for layer in counted if layer % cross_attend_every == 0]
    if cross_attend_layers is not None:
        crossing = [layer for layer in counted if layer in cross_attend_layers]
    size = TransformerConfig(dim, depth, heads, num_tokens, dim_head, ff_mult)
    return MaMMUT(
        size,
        MULTIMODAL,
        copy.deepcopy(img_encoder),
        [layer - 1 for layer in crossing],
        kv_heads=1,
        dim_latents=dim_latents or dim,
        pool=AttentionPool(dim, image_dim or dim, heads, 1, dim_head, num_img_queries),
        memory=PooledMemory(),
        text_pass=causal_text_pass,
        caption_weight=caption_loss_weight,
        contrastive_weight=contrastive_loss_weight,
    )


def _has_parts(decoder: Decoder, style: Style, rotary: type[RoPE]) -> bool:
    """Whether a decoder has the layers of a style, this rotary embedding, and the references' attention
    scale."""
    first = decoder.blocks[0]
    found = type(decoder.norm), type(first.activation), type(decoder.rotary), type(decoder.head)
    scaled = first.qk.softmax_scale == decoder.config.dim_head**-0.5
    return scaled and found == (style.norm, style.activation, rotary, style.head)


def _is_palm_rlhf(model: nn.Module) -> bool:
    rotary = RoPE if isinstance(model, PaLMEncoder) else XPos
    return isinstance(model, PaLM) and _has_parts(model.decoder, RLHF, rotary)


def _is_toolformer(model: nn.Module) -> bool:
    return type(model) is PaLM and _has_parts(model.decoder, TOOLFORMER, RoPE)


def _is_flamingo(model: nn.Module) -> bool:
    return (
        isinstance(model, Flamingo)
        and isinstance(model.decoder, Decoder)
        and _has_parts(model.decoder, MULTIMODAL, RoPE)
        and isinstance(model.encoder.places, PatchPositions)
    )


def _is_mammut(model: nn.Module) -> bool:
    return (
        isinstance(model, MaMMUT)
        and _has_parts(model.decoder, MULTIMODAL, RoPE)
        and isinstance(model.memory, PooledMemory)
        and model.text_pass is causal_text_pass
        and model.pool.attention.kv_heads == 1
    )


LAYOUTS = {
    "palm-rlhf-pytorch": Layout(
        palm_rlhf,
        _is_palm_rlhf,
        PALM_RLHF_NAMES,
        "layers.0.fn.fused_attn_ff_proj.weight",
        "to_logits.weight",
    ),
    "toolformer-pytorch": Layout(
        toolformer,
        _is_toolformer,
        TOOLFORMER_NAMES,
        "transformer.layers.0.fused_attn_ff_proj.weight",
        None,
    ),
    "flamingo-pytorch": Layout(
        flamingo, _is_flamingo, FLAMINGO_NAMES, "perceiver_resampler.latents", "to_logits.1.weight"
    ),
    "mammut-pytorch": Layout(mammut, _is_mammut, MAMMUT_NAMES, "text_cls_token", "to_logits.1.weight"),
}
