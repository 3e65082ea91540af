"""Weights of others by the name of their layout: of the reference packages, and as they were released."""

from collections.abc import Mapping

from torch import Tensor, nn

from palm_demo.checkpoints.reference import translation
from palm_demo.checkpoints.reference.layouts import LAYOUTS
from palm_demo.checkpoints.released import READERS
from palm_demo.errors import CheckpointError


def from_reference(layout: str, state_dict: Mapping[str, Tensor], **arguments) -> nn.Module:
    """Our model with these weights, in eval mode: the same logits for the same ids.

    layout: a reference package, with the arguments of its constructor (see `translation`); or a release,
    with what its reader in `released` wants to know. state_dict: tensors by name, or a file's from
    `open_weights`.

    Raises CheckpointError for an unknown layout, or naming the first tensors that do not fit.
    """
    if layout in READERS:
        return READERS[layout](state_dict, **arguments)
    if layout not in LAYOUTS:
        raise CheckpointError(f"there is no layout {layout!r}; there are: {', '.join([*LAYOUTS, *READERS])}")
    return translation.from_reference(layout, state_dict, **arguments)
