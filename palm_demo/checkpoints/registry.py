"""All layouts of others' weights by name, with the readers that make models of them."""

from collections.abc import Mapping

from torch import Tensor, nn

from palm_demo.checkpoints import lucidrains
from palm_demo.checkpoints.clip import read_clip_tower, read_coca, read_openmammut
from palm_demo.checkpoints.lucidrains_layouts import LAYOUTS
from palm_demo.checkpoints.openflamingo import embedding_rows, read_lm_config, read_openflamingo
from palm_demo.checkpoints.palm_8k import read_palm
from palm_demo.errors import CheckpointError


def from_reference(layout: str, state_dict: Mapping[str, Tensor], **arguments) -> nn.Module:
    """Our model with the weights of another package or release, in eval mode.

    It gives the same logits for the same ids.

    Args:
        layout: a reference package (see `lucidrains`) or a release (see READERS).
        state_dict: tensors by name, such as those of `open_weights`.
        arguments: those of the package's constructor, or of the release's reader.

    Raises CheckpointError for an unknown layout, or naming the first tensors that do not fit.
    """
    if layout in READERS:
        return READERS[layout](state_dict, **arguments)
    if layout not in LAYOUTS:
        raise CheckpointError(f"there is no layout {layout!r}; there are: {', '.join([*LAYOUTS, *READERS])}")
    return lucidrains.from_reference(layout, state_dict, **arguments)


READERS = {
    "clip-tower": read_clip_tower,
    "coca": read_coca,
    "openflamingo": read_openflamingo,
    "openmammut": read_openmammut,
    "palm-8k": read_palm,
}
"""Readers by the layout's name: (tensors, what the tensors do not show) -> a model of ours."""

__all__ = [
    "READERS",
    "embedding_rows",
    "read_clip_tower",
    "read_coca",
    "read_lm_config",
    "read_openflamingo",
    "read_openmammut",
    "read_palm",
]
