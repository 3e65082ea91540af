"""The loaded models and the verbs a user has: generate, answer, caption, search, classify."""

from palm_demo.inference.settings import ANSWERED, CONTINUED
from palm_demo.session.loaded import READ_SIDE
from palm_demo.session.loading import load, load_or_tiny, picture_weights
from palm_demo.session.mammut import STRANGE, SeenPicture
from palm_demo.session.session import Session

__all__ = [
    "ANSWERED",
    "CONTINUED",
    "READ_SIDE",
    "STRANGE",
    "SeenPicture",
    "Session",
    "load",
    "load_or_tiny",
    "picture_weights",
]
