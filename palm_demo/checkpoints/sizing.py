"""How large a model is, read off its tensors."""

import math
import re
from collections.abc import Mapping

from torch import Tensor

from palm_demo.checkpoints.stored import outlines
from palm_demo.errors import CheckpointError


class Sizes:
    """The shapes of a checkpoint that is said to be of a layout. All methods raise CheckpointError where
    the tensors cannot be of it."""

    def __init__(self, layout: str, tensors: Mapping[str, Tensor]):
        self.layout, self.tensors = layout, outlines(tensors)

    def shape(self, name: str, axes: int) -> tuple[int, ...]:
        """Of one tensor, which has to have so many axes."""
        if name not in self.tensors:
            raise self._misfit(f"missing: {name}")
        shape = tuple(self.tensors[name].shape)
        if len(shape) != axes or 0 in shape:
            raise self._misfit(f"wrong shape: {name} is {shape}, which has to have {axes} axes, none empty")
        return shape

    def depth(self, stem: str) -> int:
        """How many numbered parts, from 0, names that begin so have."""
        pattern = re.compile(rf"{re.escape(stem)}\.(\d+)\.")
        numbers = [int(found[1]) for name in self.tensors if (found := pattern.match(name))]
        if not numbers:
            raise self._misfit(f"missing: {stem}.0")
        return max(numbers) + 1

    def multiple(self, name: str, whole: int, part: int, of: str) -> int:
        """whole / part, which has to be a whole number; `of` says what is divided into what."""
        if part < 1 or whole % part:
            raise self._misfit(f"{name} is of width {whole}, which cannot be divided into {of} ({part})")
        return whole // part

    def side(self, name: str, places: int) -> int:
        """Of the square that so many places make."""
        side = math.isqrt(max(places, 0))
        if side < 1 or side * side != places:
            raise self._misfit(f"{name} has {places} places for patches, which make no square")
        return side

    def _misfit(self, said: str) -> CheckpointError:
        return CheckpointError(f"these tensors do not fit {self.layout}: {said}")
