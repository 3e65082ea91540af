"""LoRA (Hu et al. 2021) on queries, keys, values and attention output, under named scopes.

The scope is an argument of a request, one per row, never a switch on a shared model. It is a name
that everybody may use, an adapter that only its owner has, or a mix of such, each with a strength.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, starmap
from numbers import Real
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from palm_demo.errors import ScopeError, shown

T = TypeVar("T")

SCOPE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass
class LowRank:
    """`(x @ down) @ up`; with a leading batch axis on both, each row has its own.

    foreign: bool (b, 1, rank), which ranks are none of a row's own, where one pair of factors has those of
    all rows side by side: weights that several rows use are read once then.
    """

    down: Tensor
    up: Tensor
    foreign: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        low = x @ self.down.to(x.dtype)
        if self.foreign is not None:
            low = low.masked_fill(self.foreign, 0)
        return low @ self.up.to(x.dtype)


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

    def num_weights(self, rank: int) -> int:
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


Mix = Mapping[str | Adapter, float]
"""Scopes and how strongly each is heard: 1 as it was taught, 0 not at all, below 0 the other way."""

Scope = str | Adapter | Mix | None
"""Whose manner a row has: a named scope's, an adapter's that has no name here, a mix's, or (None) the
base's."""

MAX_MIXED, MAX_STRENGTH = 8, 4.0
"""Scopes in a mix, and how strong one may be: a pass over a mix takes as long as its ranks are high."""


def mix_adapters(parts: Sequence[tuple[Adapter, float]]) -> Adapter:
    """One adapter that adds what these add, each so many times: their factors side by side."""
    with torch.device("meta"):  # its own beginning is not wanted
        mix = Adapter(parts[0][0].shape, sum(adapter.rank for adapter, _ in parts))
    factors = {}
    for depth, layer in enumerate(mix.layers):
        for name in layer:
            loras = [(adapter.layers[depth][name], strength) for adapter, strength in parts]
            path = f"layers.{depth}.{name}"
            factors[f"{path}.down"] = torch.cat([lora.down.detach() for lora, _ in loras], dim=1)
            factors[f"{path}.up"] = torch.cat([lora.up.detach() * strength for lora, strength in loras])
    mix.load_state_dict(factors, assign=True)
    return mix.requires_grad_(False)


def with_adapters(scope: object, change: Callable[[Adapter], T]) -> object:
    """A scope, its adapter or each adapter of its mix changed into what stands for it elsewhere; anything
    else as it is."""
    if isinstance(scope, Adapter):
        return change(scope)
    if isinstance(scope, dict):
        return {with_adapters(part, change): strength for part, strength in scope.items()}
    return scope


def strengths(scope: Scope) -> dict[str | Adapter, float]:
    """Each scope of a mix, or a scope alone, and its strength. Raises ScopeError on a mix that is none."""
    if scope is None:
        return {}
    if isinstance(scope, str | Adapter):
        return {scope: 1.0}
    if not isinstance(scope, Mapping):
        raise ScopeError(
            f"a scope is {shown(scope)}; give its name, an adapter, or a mix of them such as "
            "{'carroll': 0.7, 'poe': 0.5}"
        )
    if not 1 <= len(scope) <= MAX_MIXED:
        raise ScopeError(
            f"the mix has {len(scope)} scopes; name 1 to {MAX_MIXED} with their strengths, such as "
            "{'carroll': 0.7, 'poe': 0.5}"
        )
    for strength in scope.values():
        number = isinstance(strength, Real) and not isinstance(strength, bool) and math.isfinite(strength)
        if not number or abs(strength) > MAX_STRENGTH:
            raise ScopeError(
                f"a scope's strength is {strength!r}; it can be a number from {-MAX_STRENGTH:g} to "
                f"{MAX_STRENGTH:g}, where 1 is as it was taught"
            )
    return {part: float(strength) for part, strength in scope.items()}


def scope_label(scope: Scope) -> str:
    """A scope in words: "carroll", "0.7 carroll, 0.5 poe"; one without a name is "own"."""
    named = {part if isinstance(part, str) else "own": amount for part, amount in strengths(scope).items()}
    if list(named.values()) == [1.0]:
        return next(iter(named))
    return ", ".join(f"{strength:g} {name}" for name, strength in named.items()) or "base"


@dataclass(eq=False)
class Merged:
    """A scope or mix that is part of the weights now. before: those of each block without it."""

    strengths: dict[str | Adapter, float]
    before: list[tuple[Tensor, Tensor]]


class Scopes(nn.Module):
    """The named adapters of one model."""

    def __init__(self, shape: AdapterShape):
        super().__init__()
        self.shape = shape
        # Keys carry an "@": a ModuleDict refuses the names of its own methods, "train" or "type".
        self.adapters = nn.ModuleDict()
        self.merged: dict[str, Merged] = {}

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
        for merged, part in self.merged.items():
            if name in part.strengths:
                raise ScopeError(f"scope {merged!r} is merged into the weights; unmerge it first")
        del self.adapters[f"@{name}"]

    def select(self, rows: Sequence[Scope]) -> list[LayerAdapter] | None:
        """One adapter a block for a batch whose row `i` uses scope `rows[i]`; errors as in `find`."""
        found = {id(scope): self.find(scope) for scope in {id(scope): scope for scope in rows}.values()}
        return stack_adapters([found[id(scope)] for scope in rows])

    def find(self, scope: Scope) -> Adapter | None:
        """The adapter of a row's scope, one for all of a mix. None, the base, and a merged scope, part of
        it, need none.

        Raises ScopeError on an unknown name, on a mix that is none, and on an adapter of a model of other
        widths.
        """
        wanted = strengths(scope)
        for merged in self.merged.values():
            for part, strength in merged.strengths.items():
                if part in wanted:
                    wanted[part] -= strength
        parts = [(self._adapter(part), strength) for part, strength in wanted.items()]
        parts = [(adapter, strength) for adapter, strength in parts if strength]
        if not parts:
            return None
        if len(parts) == 1 and parts[0][1] == 1:
            return parts[0][0]
        return mix_adapters(parts)

    def _adapter(self, scope: str | Adapter) -> Adapter:
        if not isinstance(scope, Adapter):
            return self[scope]
        if scope.shape != self.shape:
            raise ScopeError(
                f"the adapter is for {scope.shape} and this model has {self.shape}; teach it here again"
            )
        return scope

    def merge(self, scope: Scope, blocks: nn.ModuleList) -> None:
        """Adds a scope or mix to the weights of the blocks. Several may be merged, last in, first out."""
        if (name := scope_label(scope)) in self.merged:
            raise ScopeError(f"scope {name!r} is already merged")
        parts = [(self._adapter(part), strength) for part, strength in strengths(scope).items()]
        originals = []
        with torch.no_grad():
            for layer, block in zip(mix_adapters(parts).layers, blocks, strict=True):
                originals.append((block.fused.dense().clone(), block.attention_out.dense().clone()))
                block.fused.change_(_adding(torch.cat([layer[p].weight for p in INPUTS], dim=1).T))
                block.attention_out.change_(_adding(layer["out"].weight.T))
        self.merged[name] = Merged(strengths(scope), originals)

    def unmerge(self, scope: Scope, blocks: nn.ModuleList) -> None:
        """Puts back, bit for bit, the weights from before `merge`. Only the last merge can go."""
        if (name := scope_label(scope)) not in self.merged:
            raise ScopeError(f"scope {name!r} is not merged")
        if name != (last := list(self.merged)[-1]):
            raise ScopeError(f"scope {last!r} was merged after {name!r}; unmerge {last!r} first")
        with torch.no_grad():
            for block, (fused, out) in zip(blocks, self.merged.pop(name).before, strict=True):
                block.fused.change_(lambda _, before=fused: before)
                block.attention_out.change_(lambda _, before=out: before)


def _adding(added: Tensor) -> Callable[[Tensor], Tensor]:
    """Weight -> the same with this added to its first rows."""

    def change(weight: Tensor) -> Tensor:
        return torch.cat((weight[: len(added)] + added.to(weight.dtype), weight[len(added) :]))

    return change


def _side_by_side(parts: Sequence[LoRA]) -> LowRank:
    """Several additions to the same x as one, whose outputs follow one another."""
    return LowRank(torch.cat([p.down for p in parts], dim=1), torch.block_diag(*[p.up for p in parts]))


def stack_adapters(adapters: Sequence[Adapter | None]) -> list[LayerAdapter] | None:
    """One adapter a block for a batch, given each row's own; None where all rows are of the base."""
    used = {adapter: adapter.layer_adapters() for adapter in adapters if adapter is not None}
    if not used:
        return None
    if len(used) == 1 and None not in adapters:
        return next(iter(used.values()))
    inputs, outs = (
        [[getattr(layer, part) for layer in layers] for layers in used.values()] for part in ("inputs", "out")
    )
    of_row = [None if adapter is None else list(used).index(adapter) for adapter in adapters]
    return list(starmap(LayerAdapter, zip(_stack(inputs, of_row), _stack(outs, of_row), strict=True)))


def _stack(used: Sequence[Sequence[LowRank]], of_row: Sequence[int | None]) -> list[LowRank]:
    """Of each block one pair of factors for all rows, given those of each adapter by block, and which of the
    adapters each row has."""
    blocks = [*zip(*used, strict=True)]
    if not all(low_rank.up.isfinite().all() for low_rank in chain.from_iterable(blocks)):
        # 0 times such a number is none, so that rows would spoil each other: each gets factors of its own
        return [_apart(block, of_row) for block in blocks]
    ranks = [low_rank.down.shape[1] for low_rank in blocks[0]]
    whose = torch.repeat_interleave(torch.arange(len(ranks)), torch.tensor(ranks))
    own = torch.tensor([-1 if place is None else place for place in of_row])
    foreign = (whose != own[:, None, None]).to(blocks[0][0].down.device)
    return [
        LowRank(torch.cat([part.down for part in block], dim=1), torch.cat([p.up for p in block]), foreign)
        for block in blocks
    ]


def _apart(used: Sequence[LowRank], of_row: Sequence[int | None]) -> LowRank:
    """Each row's factors, zeros for rows of the base, ranks padded to the largest."""
    some = max(used, key=lambda low_rank: low_rank.down.shape[1])
    rank = some.down.shape[1]
    none = LowRank(torch.zeros_like(some.down), torch.zeros_like(some.up))
    rows = [none if place is None else used[place] for place in of_row]
    downs = [F.pad(row.down, (0, rank - row.down.shape[1])) for row in rows]
    ups = [F.pad(row.up, (0, 0, 0, rank - row.up.shape[0])) for row in rows]
    return LowRank(torch.stack(downs), torch.stack(ups))
