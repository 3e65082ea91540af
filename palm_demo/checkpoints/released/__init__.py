"""Readers of released weights, one per layout: the sizes are read off the tensors."""

from palm_demo.checkpoints.released.openflamingo import read_openflamingo

READERS = {"openflamingo": read_openflamingo}
"""By the name of the layout: (tensors, what the tensors do not tell) -> a model of ours."""

__all__ = ["READERS", "read_openflamingo"]
