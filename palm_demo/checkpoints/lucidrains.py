"""Converts weights of the lucidrains packages into our models and back, completely or not at all."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from palm_demo.checkpoints.files import mismatch
from palm_demo.checkpoints.lucidrains_layouts import LAYOUTS, TOWER, Layout, renamed
from palm_demo.checkpoints.numeric_checks import check_tensor, starts_at_zero
from palm_demo.errors import CheckpointError
from palm_demo.models import PaLM

GAIN, SHIFT = ".gamma", ".beta"
BLOCK = "fused_attn_ff_proj.weight"


def from_reference(
    layout: str, state_dict: Mapping[str, Tensor], *, gamma_offset: int = 0, **arguments
) -> nn.Module:
    """Our model with the weights of a reference model. It gives the same logits for the same ids.

    Args:
        layout: "palm-rlhf-pytorch", "toolformer-pytorch", "flamingo-pytorch" or "mammut-pytorch".
        state_dict: the reference model's.
        gamma_offset: what the reference adds to the gains it stores: 1 for palm-rlhf-pytorch from
            0.2.4 on, whose files look like older ones, else 0.
        arguments: those of the reference's constructor.

    The model has the dtype of the weights and is in eval mode. Raises CheckpointError for an unknown
    layout, or naming the first tensors that are missing, unexpected, of a wrong shape, or inconsistent
    with the others.
    """
    known = _known(layout)
    model = known.build(state_dict, **arguments)
    names = _names(model, known)
    made = derived(model, known, names)
    shapes = {theirs: _reference_shape(ours, t) for ours, (theirs, t) in names.items()}
    shapes |= {name: tuple(t.shape) for name, t in made.items()}
    if problems := mismatch(shapes, state_dict):
        raise CheckpointError(
            f"these tensors do not fit {layout}{_looks_like(layout, state_dict)}: {problems}"
        )
    check_derived(layout, known, state_dict)
    tensors = {name: t for name, t in model.state_dict().items() if not t.numel()}  # places for no frame
    for ours, (theirs, wanted) in names.items():
        tensor = state_dict[theirs].detach().reshape(wanted.shape)
        check_tensor(theirs, tensor, "the checkpoint", may_be_zero=starts_at_zero(wanted))
        tensors[ours] = tensor + gamma_offset if _ends(theirs, GAIN) else tensor
    if "media_embedding" in model.state_dict():
        tensors["media_embedding"] = state_dict["token_emb.weight"][model.media_token_id].detach()
    model = model.to(next(t.dtype for name, t in tensors.items() if name.endswith("embedding.weight")))
    model.load_state_dict(tensors)
    return model.eval()


def to_reference(layout: str, model: nn.Module, *, gamma_offset: int = 0) -> dict[str, Tensor]:
    """The state dict with which the reference's model gives the logits of ours.

    A merged scope is part of the weights, as after the reference's own merge, and so are the scopes of a
    merged mix. The reference has one row for Flamingo's media token as input and output; it gets our
    input row. Raises CheckpointError when the model cannot be written in that layout.
    """
    known = _known(layout)
    if not known.can_hold(model):
        raise CheckpointError(
            f"this {type(model).__name__} cannot be written as {layout}, which has other parts"
        )
    names = _names(model, known)
    tensors = {}
    for ours, (theirs, t) in names.items():
        t = t.detach().reshape(_reference_shape(ours, t)).clone()
        tensors[theirs] = t - gamma_offset if _ends(theirs, GAIN) else t
    if "media_embedding" in model.state_dict():
        tensors["token_emb.weight"][model.media_token_id] = model.media_embedding.detach()
    made = derived(model, known, names)
    if known.tied_head is not None:  # as the input row of the media token is
        made[known.tied_head] = tensors["token_emb.weight"].clone()
    return tensors | made


def _ends(theirs: str, end: str) -> bool:
    """Whether a reference's tensor is called so. A vision tower's are its own, whatever they are called."""
    return theirs.endswith(end) and not theirs.startswith(TOWER)


def _known(layout: str) -> Layout:
    if layout not in LAYOUTS:
        raise CheckpointError(f"there is no layout {layout!r}; there are: {', '.join(LAYOUTS)}")
    return LAYOUTS[layout]


def _names(model: nn.Module, layout: Layout) -> dict[str, tuple[str, Tensor]]:
    """Our name -> (the reference's name, our tensor), for the weights that both have."""
    merged = ()
    if isinstance(model, PaLM):
        adapters = {adapter for merge in model.scopes.merged for adapter in merge.adapters}
        names = [name for name in model.scopes.names if model.scopes[name] in adapters]
        merged = tuple(f"scopes.adapters.@{name}." for name in names)
    tensors = {
        name: t
        for name, t in model.state_dict().items()
        if t.numel() and name != "media_embedding" and not name.startswith(merged)
    }
    theirs = renamed(tensors, layout.rules)
    return {ours: (theirs[ours], t) for ours, t in tensors.items()}


def _reference_shape(ours: str, t: Tensor) -> tuple[int, ...]:
    if ours == "encoder.places.positions":
        return len(t), 1, t.shape[1]
    return (1,) if ours == "log_scale" else tuple(t.shape)


def derived(model: nn.Module, layout: Layout, names: Mapping[str, tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors that the reference stores beside its weights: zero shifts, angles, the tied head."""
    decoder, weight = model.decoder, model.decoder.embedding.weight
    pairs = torch.arange(0, decoder.config.dim_head, 2).float()
    made = {}
    for theirs, t in names.values():
        if _ends(theirs, GAIN):
            made[theirs.removesuffix(GAIN) + SHIFT] = torch.zeros_like(t)
        if _ends(theirs, BLOCK):
            block = theirs.removesuffix(BLOCK)
            made[f"{block}rotary_emb.inv_freq"] = 1.0 / 10_000 ** (pairs / decoder.config.dim_head)
            if layout is LAYOUTS["palm-rlhf-pytorch"]:
                decay = (pairs + 0.4 * decoder.config.dim_head) / (1.4 * decoder.config.dim_head)
                made[f"{block}rotary_emb.scale"] = decay
    if layout.tied_head is not None:
        made[layout.tied_head] = weight.detach().clone()
    return made


def check_derived(layout: str, known: Layout, state_dict: Mapping[str, Tensor]) -> None:
    """Raises CheckpointError where shifts are not zero or the tied head is not the embedding.

    Tensors on the meta device have no values to check.
    """
    for name in state_dict:
        if _ends(name, SHIFT) and not (t := state_dict[name]).is_meta and t.any():
            raise CheckpointError(f"{name} is not zero; {layout} shifts nothing, so this is another model's")
    if not known.tied_head:
        return
    head, embedding = state_dict[known.tied_head], state_dict["token_emb.weight"]
    if not head.is_meta and not torch.equal(head, embedding):
        raise CheckpointError(f"{known.tied_head} is not token_emb.weight; {layout} ties the two")


def _looks_like(layout: str, state_dict: Mapping[str, Tensor]) -> str:
    likely = [name for name, other in LAYOUTS.items() if other.telling in state_dict and name != layout]
    return f", but rather {likely[0]}" if likely else ""
