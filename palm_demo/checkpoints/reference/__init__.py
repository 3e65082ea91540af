"""Weights of the published reference packages, into our models and back."""

from palm_demo.checkpoints.reference.translation import from_reference, to_reference

__all__ = ["from_reference", "to_reference"]
