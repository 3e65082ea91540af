"""LoRA (Hu et al. 2021) on queries, keys, values and attention output, under named scopes.

The scope is an argument of a request, one per row, never a switch on a shared model. It is a name
that everybody may use, or an adapter that only its owner has.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from palm_demo.errors import ScopeError

SCOPE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass
class LowRank:
    """`(x @ down) @ up`; with a leading batch axis on both, each row has its own."""

    down: Tensor
    up: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return (x @ self.down.to(x.dtype)) @ self.up.to(x.dtype)


class LoRA(nn.Module):
    """A low-rank addition to one projection; adds nothing until trained."""

    def __init__(self, dim_in: int, dim_out: int, rank: int, random: torch.Generator | None = None):
        super().__init__()
        self.down = nn.Parameter(torch.randn(dim_in, rank, generator=random) * dim_in**-0.5)
        self.up = nn.Parameter(torch.zeros(rank, dim_out))

    @property
    def weight(self) -> Tensor:
        """(dim_in, dim_out), what merging adds."""
        return self.down @ self.up


@dataclass
class LayerAdapter:
    """What is added in one block: to queries, keys and values, which lie side by side, and to the output."""

    inputs: LowRank
    out: LowRank


INPUTS = ("query", "key", "value")
PROJECTIONS = (*INPUTS, "out")


@dataclass(frozen=True)
class AdapterShape:
    """The widths of the model that an adapter is for."""

    dim: int
    attention_width: int
    dim_head: int
    depth: int

    @property
    def projections(self) -> dict[str, tuple[int, int]]:
        """Name -> widths in and out, of what is adapted in each block."""
        return {
            "query": (self.dim, self.attention_width),
            "key": (self.dim, self.dim_head),
            "value": (self.dim, self.dim_head),
            "out": (self.attention_width, self.dim),
        }

    def weights(self, rank: int) -> int:
        """How many numbers an adapter of this rank has."""
        return self.depth * rank * sum(map(sum, self.projections.values()))


class Adapter(nn.Module):
    """One scope: a LoRA for each projection of each block."""

    def __init__(self, shape: AdapterShape, rank: int, random: torch.Generator | None = None):
        super().__init__()
        self.shape, self.rank = shape, rank
        self.layers = nn.ModuleList(
            nn.ModuleDict({name: LoRA(*widths, rank, random) for name, widths in shape.projections.items()})
            for _ in range(shape.depth)
        )

    def layer_adapters(self) -> list[LayerAdapter]:
        return [
            LayerAdapter(
                _side_by_side([layer[p] for p in INPUTS]), LowRank(layer["out"].down, layer["out"].up)
            )
            for layer in self.layers
        ]


Scope = str | Adapter | None
"""Whose manner a row has: a named scope's, an adapter's that has no name here, or (None) the base's."""


class Scopes(nn.Module):
    """The named adapters of one model."""

    def __init__(self, shape: AdapterShape):
        super().__init__()
        self.shape = shape
        # Keys carry an "@": a ModuleDict refuses the names of its own methods, "train" or "type".
        self.adapters = nn.ModuleDict()
        self.merged: dict[str, list[tuple[Tensor, Tensor]]] = {}

    @property
    def names(self) -> list[str]:
        return sorted(key.removeprefix("@") for key in self.adapters)

    def __getitem__(self, name: str) -> Adapter:
        if name not in self.names:
            known = ", ".join(self.names) or "none"
            raise ScopeError(f"there is no scope {name!r}; known scopes: {known}")
        return self.adapters[f"@{name}"]

    def add(self, name: str, rank: int) -> Adapter:
        """A fresh adapter that changes nothing yet. Raises ScopeError on a bad or taken name."""
        if not SCOPE_NAME.fullmatch(name):
            raise ScopeError(
                f"scope name {name!r} is not allowed; use letters, digits, '-' and '_', at most 64"
            )
        if name in self.names:
            raise ScopeError(f"scope {name!r} already exists; remove it first or choose a new name")
        self.adapters[f"@{name}"] = self.new(rank)
        return self[name]

    def new(self, rank: int, random: torch.Generator | None = None) -> Adapter:
        """A fresh adapter without a name, which changes nothing yet."""
        return Adapter(self.shape, rank, random)

    def remove(self, name: str) -> None:
        """Forgets a scope. Raises ScopeError when it is unknown or merged into the weights."""
        self[name]
        if name in self.merged:
            raise ScopeError(f"scope {name!r} is merged into the weights; unmerge it first")
        del self.adapters[f"@{name}"]

    def select(self, rows: Sequence[Scope]) -> list[LayerAdapter] | None:
        """One adapter a block for a batch whose row `i` uses scope `rows[i]`; errors as in `find`."""
        return for_rows([self.find(scope) for scope in rows])

    def find(self, scope: Scope) -> Adapter | None:
        """The adapter of a row's scope. None, the base, and a merged scope, part of it, need none.

        Raises ScopeError on an unknown name, and on an adapter of a model of other widths.
        """
        if isinstance(scope, Adapter):
            if scope.shape != self.shape:
                raise ScopeError(
                    f"the adapter is for {scope.shape} and this model has {self.shape}; teach it here again"
                )
            return scope
        if scope is None:
            return None
        adapter = self[scope]
        return None if scope in self.merged else adapter

    def merge(self, name: str, blocks: nn.ModuleList) -> None:
        """Adds a scope to the weights of the blocks. Several may be merged, last in, first out."""
        if name in self.merged:
            raise ScopeError(f"scope {name!r} is already merged")
        originals = []
        with torch.no_grad():
            for layer, block in zip(self[name].layers, blocks, strict=True):
                originals.append((block.fused.weight.clone(), block.attention_out.weight.clone()))
                added = torch.cat([layer[p].weight for p in INPUTS], dim=1).T
                block.fused.weight[: len(added)] += added.to(block.fused.weight.dtype)
                block.attention_out.weight += layer["out"].weight.T.to(block.fused.weight.dtype)
        self.merged[name] = originals

    def unmerge(self, name: str, blocks: nn.ModuleList) -> None:
        """Puts back, bit for bit, the weights from before `merge`. Only the last merge can go."""
        if name not in self.merged:
            raise ScopeError(f"scope {name!r} is not merged")
        if name != (last := list(self.merged)[-1]):
            raise ScopeError(f"scope {last!r} was merged after {name!r}; unmerge {last!r} first")
        with torch.no_grad():
            for block, (fused, out) in zip(blocks, self.merged.pop(name), strict=True):
                block.fused.weight.copy_(fused)
                block.attention_out.weight.copy_(out)


def _side_by_side(parts: Sequence[LoRA]) -> LowRank:
    """Several additions to the same x as one, whose outputs follow one another."""
    return LowRank(torch.cat([p.down for p in parts], dim=1), torch.block_diag(*[p.up for p in parts]))


def for_rows(adapters: Sequence[Adapter | None]) -> list[LayerAdapter] | None:
    """One adapter a block for a batch, given each row's own; None where all rows are of the base."""
    used = {adapter: adapter.layer_adapters() for adapter in adapters if adapter is not None}
    if not used:
        return None
    if len(used) == 1 and None not in adapters:
        return next(iter(used.values()))
    by_row = [used.get(adapter) for adapter in adapters]
    return [
        LayerAdapter(
            _stack([layers and layers[depth].inputs for layers in by_row]),
            _stack([layers and layers[depth].out for layers in by_row]),
        )
        for depth in range(len(next(iter(used.values()))))
    ]


def _stack(rows: Sequence[LowRank | None]) -> LowRank:
    """Each row's factors, zeros for rows of the base, ranks padded to the largest."""
    some = max((row for row in rows if row is not None), key=lambda row: row.down.shape[1])
    rank = some.down.shape[1]
    none = LowRank(torch.zeros_like(some.down), torch.zeros_like(some.up))
    padded = [row or none for row in rows]
    downs = [F.pad(row.down, (0, rank - row.down.shape[1])) for row in padded]
    ups = [F.pad(row.up, (0, 0, 0, rank - row.up.shape[0])) for row in padded]
    return LowRank(torch.stack(downs), torch.stack(ups))
