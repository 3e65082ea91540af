"""PaLM, Flamingo and MaMMUT to touch: one decoder, one vision tower, weights that come along.

import palm_demo
session = palm_demo.load()
session.generate("Once upon a time")
"""

from palm_demo.session import Session, load

__all__ = ["Session", "load"]
