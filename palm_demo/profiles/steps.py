"""What a loading tells of itself while it goes on."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """what: is being done. part: how much of it is done, 0 to 1; None where nobody can say."""

    what: str
    part: float | None = None


OnProgress = Callable[[Step], object]


def no_op(step: Step) -> None:
    """For a loading that nobody watches."""
