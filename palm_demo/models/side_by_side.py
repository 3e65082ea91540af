"""Passes side by side: tokens of many rows go through the weights together, each row with its own
attention.

A step of running texts and pieces of prompts are then one pass, which reads the weights once.

Letters: `b` batch, `n` new tokens, `t` tokens of all passes, `h` heads, `d` head width.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from palm_demo.models.attention import AttentionMask, LayerAttention
from palm_demo.models.lora import LayerAdapter

CrossAttentionLayer = Callable[[Tensor], Tensor]
"""A layer that a multimodal model runs after a block: states (b, n, dim) -> states (b, n, dim)."""


@dataclass(frozen=True)
class Pass:
    """New tokens of some rows, with all that a decoder needs to run them.

    Attributes:
        states: (b, n, dim), embeddings.
        mask: which tokens see which.
        cross_attention: by block, the layer that runs after it.
        adapters: LoRA, one per block; None for the base.
    """

    states: Tensor
    mask: AttentionMask
    cross_attention: Mapping[int, CrossAttentionLayer] = field(default_factory=dict)
    adapters: Sequence[LayerAdapter] | None = None

    @property
    def tokens(self) -> int:
        """The number of new tokens of all rows."""
        return self.states.shape[0] * self.states.shape[1]


def side_by_side(passes: Sequence[Pass]) -> Pass:
    """Joins passes into one over a single row of all their tokens, pass after pass and row after row."""
    if len(passes) == 1 and len(passes[0].states) == 1:
        return passes[0]
    parts = _Parts(passes)
    states = parts.together([one.states for one in passes])
    layers = {layer: _EachByItself(parts, _layers(passes, layer)) for layer in _layers_of(passes)}
    return Pass(states, _MasksSideBySide(parts), layers, parts.adapters())


def _layers_of(passes: Sequence[Pass]) -> list[int]:
    return sorted({layer for one in passes for layer in one.cross_attention})


def _layers(passes: Sequence[Pass], layer: int) -> list[CrossAttentionLayer | None]:
    return [one.cross_attention.get(layer) for one in passes]


class _Parts:
    """Splits a row of all tokens into passes, and joins it again."""

    def __init__(self, passes: Sequence[Pass]):
        self.passes = passes
        self.shapes = [one.states.shape[:2] for one in passes]
        self.sizes = [one.tokens for one in passes]

    def apart(self, x: Tensor) -> list[Tensor]:
        """Splits (1, t, ...) into (b, n, ...) of each pass."""
        split = x.split(self.sizes, dim=1)
        return [part.reshape(*shape, *x.shape[2:]) for part, shape in zip(split, self.shapes, strict=True)]

    def together(self, parts: Sequence[Tensor]) -> Tensor:
        """Joins (b, n, ...) of each pass into (1, t, ...)."""
        return torch.cat([part.reshape(1, -1, *part.shape[2:]) for part in parts], dim=1)

    def adapters(self) -> list[LayerAdapter] | None:
        """Adapters of each block that add to each pass's tokens what its own adapters add."""
        given = [one.adapters for one in self.passes]
        depths = [len(adapters) for adapters in given if adapters is not None]
        if not depths:
            return None

        def added(block: int, projection: str) -> _AddedByEach:
            return _AddedByEach(self, [a and getattr(a[block], projection) for a in given])

        return [LayerAdapter(added(block, "inputs"), added(block, "out")) for block in range(depths[0])]


class _EachByItself:
    """A layer over all tokens: each pass runs its own layer on its own tokens, or none."""

    def __init__(self, parts: _Parts, layers: Sequence[CrossAttentionLayer | None]):
        self.parts, self.layers = parts, layers

    def __call__(self, x: Tensor) -> Tensor:
        own = zip(self.layers, self.parts.apart(x), strict=True)
        return self.parts.together([part if layer is None else layer(part) for layer, part in own])


class _AddedByEach(_EachByItself):
    """Sums to add to all tokens: each pass adds what its own layer gives, or zeros."""

    def __call__(self, x: Tensor) -> Tensor:
        own = zip(self.layers, self.parts.apart(x), strict=True)
        added = [None if layer is None else layer(part) for layer, part in own]
        width = next(one.shape[-1] for one in added if one is not None)
        shapes = self.parts.shapes
        return self.parts.together(
            [
                x.new_zeros(*shape, width) if one is None else one
                for one, shape in zip(added, shapes, strict=True)
            ]
        )


class _MasksSideBySide:
    """The mask of all tokens: each token sees what its own pass lets it see."""

    def __init__(self, parts: _Parts):
        self.parts = parts

    def positions(self, states: Tensor) -> Tensor:
        own = zip(self.parts.passes, self.parts.shapes, strict=True)
        return torch.cat([one.mask.positions(one.states).expand(shape).flatten() for one, shape in own])

    def at(self, layer: int) -> LayerAttention:
        return partial(self._attend, [one.mask.at(layer) for one in self.parts.passes])

    def _attend(
        self, each: Sequence[LayerAttention], queries: Tensor, keys: Tensor, values: Tensor, scale: float
    ) -> Tensor:
        apart = (self.parts.apart(t.transpose(1, 2)) for t in (queries, keys, values))
        outs = [
            attend(*(t.transpose(1, 2) for t in own), scale).transpose(1, 2)
            for attend, *own in zip(each, *apart, strict=True)
        ]
        return self.parts.together(outs).transpose(1, 2)
