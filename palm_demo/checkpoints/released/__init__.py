"""Readers of released weights, one per layout: the sizes are read off the tensors."""

from palm_demo.checkpoints.released.clip_tower import read_clip_tower
from palm_demo.checkpoints.released.coca import read_coca
from palm_demo.checkpoints.released.openflamingo import embedding_rows, read_lm_config, read_openflamingo
from palm_demo.checkpoints.released.openmammut import read_openmammut
from palm_demo.checkpoints.released.palm import read_palm

READERS = {
    "clip-tower": read_clip_tower,
    "coca": read_coca,
    "openflamingo": read_openflamingo,
    "openmammut": read_openmammut,
    "palm-8k": read_palm,
}
"""By the name of the layout: (tensors, what the tensors do not tell) -> a model of ours."""

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
