"""The loaded models and the verbs a user has: generate, answer, caption, search, classify."""

from palm_demo.session.loaded import ANSWERED, CONTINUED
from palm_demo.session.loading import load, load_or_tiny, picture_weights
from palm_demo.session.mammut import STRANGE
from palm_demo.session.session import Session

__all__ = ["ANSWERED", "CONTINUED", "STRANGE", "Session", "load", "load_or_tiny", "picture_weights"]
