"""What each reference package calls our tensors.

A package's rules are (pattern, replacement) pairs that turn our names into its own, one after another.
"""

import re
from collections.abc import Iterable

from palm_demo.lora import PROJECTIONS

Rules = tuple[tuple[str, str], ...]

_BLOCK: Rules = (
    (r"\.fused\.", ".fused_attn_ff_proj."),
    (r"\.attention_out\.", ".attn_out."),
    (r"\.qk\.query_gain$", ".q_scale"),
    (r"\.qk\.key_gain$", ".k_scale"),
)

PALM_RLHF: Rules = (
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

TOOLFORMER: Rules = (
    *_BLOCK,
    (r"^decoder\.embedding\.", "emb."),
    (r"^decoder\.blocks\.", "transformer.layers."),
    (r"\.ff_out\.", ".ff_out.1."),
    (r"^decoder\.norm\.", "to_logits.0."),
    (r"^decoder\.head\.projection\.", "to_logits.1."),
    (r"\.gamma$", ".g"),
)

_MULTIMODAL: Rules = (
    *_BLOCK,
    (r"^decoder\.embedding\.", "token_emb."),
    (r"^decoder\.blocks\.(\d+)\.", r"layers.\1.0.fn."),
    (r"\.ff_out\.", ".ff_out.1."),
    (r"^decoder\.norm\.", "to_logits.0."),
    (r"^tower\.", "img_encoder."),
)

FLAMINGO: Rules = (
    (r"^encoder\.", ""),
    *_MULTIMODAL,
    (r"^resampler\.", "perceiver_resampler."),
    (r"^places\.positions$", "perceiver_resampler.media_pos_emb"),
    (r"^frame_positions$", "video_frame_pos_emb"),
    (r"^bridges\.(\d+)\.attention_gate$", r"layers.\1.1.attn_gate"),
    (r"^bridges\.(\d+)\.(ff|ff_gate)\b", r"layers.\1.1.\2"),
    (r"^bridges\.(\d+)\.(?:attention\.)?", r"layers.\1.1.attn."),
)

MAMMUT: Rules = (
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
    (r"^bridges\.(\d+)\.(?:attention\.)?", r"layers.\1.1.fn."),
)


def renamed(names: Iterable[str], rules: Rules) -> dict[str, str]:
    """Our name -> the reference's."""
    found = {}
    for name in names:
        theirs = name
        for pattern, replacement in rules:
            theirs = re.sub(pattern, replacement, theirs)
        found[name] = theirs
    return found
