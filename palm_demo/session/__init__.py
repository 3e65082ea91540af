"""A session: the loaded models, and the verbs on them (generate, answer, caption, search, classify)."""

from palm_demo.inference.settings import ANSWERED, CONTINUED
from palm_demo.session.encoded_image import EncodedImage
from palm_demo.session.loading import load, load_or_tiny, picture_weights
from palm_demo.session.mammut import OUT_OF_DISTRIBUTION, Description
from palm_demo.session.part import READ_SIDE
from palm_demo.session.session import Session

__all__ = [
    "ANSWERED",
    "CONTINUED",
    "OUT_OF_DISTRIBUTION",
    "READ_SIDE",
    "Description",
    "EncodedImage",
    "Session",
    "load",
    "load_or_tiny",
    "picture_weights",
]
