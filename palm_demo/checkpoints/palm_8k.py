"""PaLM's released weights: `conceptofmind/palm-{150m,410m,1b,2b}`, trained on C4 with 8k of context.

These models never learned to end: a text stops at a token limit or a stop string. Ids that the
tokenizer does not have are padding of the embedding, and are never sampled (see `Engine`).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from palm_demo.checkpoints.lazy_state_dict import InferredSizes, fill, meta_tensors
from palm_demo.checkpoints.lucidrains import check_derived, derived
from palm_demo.checkpoints.lucidrains_layouts import LAYOUTS, PALM_RLHF_NAMES, renamed
from palm_demo.errors import CheckpointError
from palm_demo.models import PaLM
from palm_demo.models.layers import RLHF
from palm_demo.models.transformer import TransformerConfig

LAYOUT = "palm-8k"
STORED_LIKE = "palm-rlhf-pytorch"
CONTEXT = 8192
"""Tokens of prompt and answer together that they were trained for."""


def read_palm(
    tensors: Mapping[str, Tensor],
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> PaLM:
    """Reads a released PaLM.

    device, dtype: of the weights; by default unchanged. Raises CheckpointError that names the first
    tensors that are missing, unexpected, of a wrong shape or inconsistent with the others, and for
    float16, in which xPos overflows within the context.
    """
    size = palm_size(InferredSizes(LAYOUT, tensors))
    if (dtype or meta_tensors(tensors)["token_emb.weight"].dtype) == torch.float16:
        raise CheckpointError(
            f"{LAYOUT} in float16 cannot hold the keys of {CONTEXT} tokens, which xPos scales beyond its "
            "range; ask for bfloat16 or float32"
        )
    with torch.device("meta"):
        palm = PaLM(size, RLHF)
    weights = palm.state_dict()
    names = renamed(weights, PALM_RLHF_NAMES)
    stored = LAYOUTS[STORED_LIKE]
    beside = derived(palm, stored, {ours: (theirs, weights[ours]) for ours, theirs in names.items()})
    shapes = {name: tuple(t.shape) for name, t in beside.items()}
    filled = fill(palm, LAYOUT, tensors, names, shapes, device, dtype)
    check_derived(LAYOUT, stored, tensors)
    return filled


def palm_size(sizes: InferredSizes) -> TransformerConfig:
    """The numbers of the model. Each of a head's angles turns two numbers."""
    vocab, dim = sizes.shape("token_emb.weight", 2)
    (angles,) = sizes.shape("layers.0.fn.rotary_emb.inv_freq", 1)
    _, queries = sizes.shape("layers.0.fn.attn_out.weight", 2)
    _, inner = sizes.shape("layers.0.fn.ff_out.2.weight", 2)
    return TransformerConfig(
        dim=dim,
        depth=sizes.depth("layers"),
        heads=sizes.multiple("layers.0.fn.attn_out.weight", queries, 2 * angles, "heads"),
        vocab=vocab,
        dim_head=2 * angles,
        ff_mult=sizes.multiple("layers.0.fn.ff_out.2.weight", inner, dim, "the model's"),
    )
