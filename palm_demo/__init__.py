"""PaLM, Flamingo and MaMMUT to touch: one decoder, one vision tower, weights that come along.

import palm_demo
session = palm_demo.load()
session.generate("Once upon a time")
"""

from palm_demo.session import Session, load

__version__ = "0.1.0"
__all__ = ["Session", "__version__", "load"]
