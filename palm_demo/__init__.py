"""PaLM, Flamingo and MaMMUT on one decoder and one vision tower, with weights included.

import palm_demo
session = palm_demo.load()
session.generate("Once upon a time")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from palm_demo.session import Session, load

__version__ = "0.1.0"
__all__ = ["Session", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """Imports `Session` and `load` when they are first used.

    They need torch, which takes seconds to import, and `--help` needs neither.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from palm_demo import session

    return getattr(session, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
