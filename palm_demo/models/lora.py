"""LoRA (Hu et al. 2021) on queries, keys, values and attention output, under named scopes.

The scope is an argument of a request, one per row, and never switches a shared model. It is a name
that everybody may use, an adapter that only its owner has, or a mix of these with strengths.
"""

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
from palm_demo.models.packed_weights import PackedWeight

T = TypeVar("T")

SCOPE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass
class LowRank:
    """A low-rank map, `(x @ down) @ up`. With a leading batch axis on both, each row has its own.

    foreign: bool (b, 1, rank), which ranks do not belong to a row, if one pair of factors has the ranks
    of all rows side by side. Factors that several rows use are then read once.
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
    """A low-rank addition to one projection. It adds nothing until it is trained."""

    def __init__(self, dim_in: int, dim_out: int, rank: int, random: torch.Generator | None = None):
        super().__init__()
        self.down = nn.Parameter(torch.randn(dim_in, rank, generator=random) * dim_in**-0.5)
        self.up = nn.Parameter(torch.zeros(rank, dim_out))

    @property
    def weight(self) -> Tensor:
        """The update that merging adds, (dim_in, dim_out)."""
        return self.down @ self.up


@dataclass
class LayerAdapter:
    """The low-rank updates of one block: of queries, keys and values together, and of the output."""

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
        """Widths in and out of the adapted projections of a block, by name."""
        return {
            "query": (self.dim, self.attention_width),
            "key": (self.dim, self.dim_head),
            "value": (self.dim, self.dim_head),
            "out": (self.attention_width, self.dim),
        }

    def num_weights(self, rank: int) -> int:
        """The number of weights of an adapter of this rank."""
        return self.depth * rank * sum(map(sum, self.projections.values()))


class Adapter(nn.Module):
    """A LoRA adapter of a whole model: a low-rank update of each adapted projection of each block."""

    def __init__(self, shape: AdapterShape, rank: int, random: torch.Generator | None = None):
        super().__init__()
        self.shape, self.rank = shape, rank
        self.layers = nn.ModuleList(
            nn.ModuleDict({name: LoRA(*widths, rank, random) for name, widths in shape.projections.items()})
            for _ in range(shape.depth)
        )

    def layer_adapters(self) -> list[LayerAdapter]:
        """The updates of each block, as the decoder takes them."""
        return [
            LayerAdapter(
                _side_by_side([layer[p] for p in INPUTS]), LowRank(layer["out"].down, layer["out"].up)
            )
            for layer in self.layers
        ]


Mix = Mapping[str | Adapter, float]
"""Scopes with strengths: 1 as trained, 0 not at all, below 0 in the opposite direction."""

Scope = str | Adapter | Mix | None
"""The scope of a row: the name of a scope, an adapter without a name, a mix, or None for the base model."""

MAX_MIXED, MAX_STRENGTH = 8, 4.0
"""The most scopes in a mix, and the largest strength. A pass takes longer the higher the sum of the ranks
is."""
A_MIX = "{'carroll': 0.7, 'poe': 0.5}"
"""An example for messages."""


def mix_adapters(parts: Sequence[tuple[Adapter, float]]) -> Adapter:
    """One adapter that adds the weighted sum of several: their factors side by side."""
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
    """Replaces each adapter of a scope or mix by `change(adapter)`. Anything else stays."""
    if isinstance(scope, Adapter):
        return change(scope)
    if isinstance(scope, Mapping):
        return {with_adapters(part, change): strength for part, strength in scope.items()}
    return scope


def strengths(scope: Scope) -> dict[str | Adapter, float]:
    """The scopes of a mix, or a single scope, with their strengths. Raises ScopeError for an invalid mix."""
    if scope is None:
        return {}
    if isinstance(scope, str | Adapter):
        return {scope: 1.0}
    if not isinstance(scope, Mapping):
        raise ScopeError(f"a scope is {shown(scope)}; give its name, an adapter, or a mix such as {A_MIX}")
    if not 1 <= len(scope) <= MAX_MIXED:
        raise ScopeError(
            f"the mix has {len(scope)} scopes; name 1 to {MAX_MIXED} with their strengths, such as {A_MIX}"
        )
    for strength in scope.values():
        number = isinstance(strength, Real) and not isinstance(strength, bool)
        if not number or not abs(strength) <= MAX_STRENGTH:  # so that what is not a number is none
            raise ScopeError(
                f"a scope's strength is {shown(strength)}; it can be a number from {-MAX_STRENGTH:g} to "
                f"{MAX_STRENGTH:g}, where 1 is as trained"
            )
    return {part: float(strength) for part, strength in scope.items()}


def scope_label(scope: Scope) -> str:
    """A scope in words, such as "carroll" or "0.7 carroll, 0.5 poe". An adapter without a name is "own"."""
    named = [(part if isinstance(part, str) else "own", number) for part, number in strengths(scope).items()]
    if len(named) == 1 and named[0][1] == 1:
        return named[0][0]
    return ", ".join(f"{strength:g} {name}" for name, strength in named) or "base"


@dataclass(eq=False)
class Merged:
    """A scope or mix in the weights.

    Attributes:
        label: in words, for messages.
        adapters: its adapters with their strengths.
        before: fused and output weights of each block without it, as `Projection.stored` gives them.
    """

    label: str
    adapters: dict[Adapter, float]
    before: list[tuple[PackedWeight | Tensor, PackedWeight | Tensor]]


class Scopes(nn.Module):
    """The named adapters of one model."""

    def __init__(self, shape: AdapterShape):
        super().__init__()
        self.shape = shape
        # Keys carry an "@": a ModuleDict refuses the names of its own methods, "train" or "type".
        self.adapters = nn.ModuleDict()
        self.merged: list[Merged] = []

    @property
    def names(self) -> list[str]:
        return sorted(key.removeprefix("@") for key in self.adapters)

    def __getitem__(self, name: str) -> Adapter:
        if name not in self.names:
            known = ", ".join(self.names) or "none"
            raise ScopeError(f"there is no scope {shown(name)}; known scopes: {known}")
        return self.adapters[f"@{name}"]

    def add(self, name: str, rank: int) -> Adapter:
        """Adds an adapter that changes nothing until trained. Raises ScopeError for a bad or taken name."""
        if not SCOPE_NAME.fullmatch(name):
            raise ScopeError(
                f"scope name {shown(name)} is not allowed; use letters, digits, '-' and '_', at most 64"
            )
        if name in self.names:
            raise ScopeError(f"scope {name!r} already exists; remove it first or choose a new name")
        self.adapters[f"@{name}"] = self.new(rank)
        return self[name]

    def new(self, rank: int, random: torch.Generator | None = None) -> Adapter:
        """An adapter without a name, which changes nothing until trained."""
        return Adapter(self.shape, rank, random)

    def remove(self, name: str) -> None:
        """Removes a scope. Raises ScopeError when it is unknown or merged into the weights."""
        adapter = self[name]
        for merge in self.merged:
            if adapter in merge.adapters:
                raise ScopeError(f"scope {merge.label!r} is merged into the weights; unmerge it first")
        del self.adapters[f"@{name}"]

    def select(self, rows: Sequence[Scope]) -> list[LayerAdapter] | None:
        """The adapters for a batch whose row `i` uses scope `rows[i]`, one per block; errors as in
        `find`."""
        found = {id(scope): self.find(scope) for scope in {id(scope): scope for scope in rows}.values()}
        return stack_adapters([found[id(scope)] for scope in rows])

    def find(self, scope: Scope) -> Adapter | None:
        """The adapter of a scope; a single one for a mix. None for the base model and for a merged scope.

        Raises ScopeError for an unknown name, an invalid mix, and an adapter of a model with other widths.
        """
        wanted = self.adapters_of(scope)
        for merge in self.merged:
            for adapter, strength in merge.adapters.items():
                if adapter in wanted:
                    wanted[adapter] -= strength
        parts = [(adapter, strength) for adapter, strength in wanted.items() if strength]
        if not parts:
            return None
        if len(parts) == 1 and parts[0][1] == 1:
            return parts[0][0]
        return mix_adapters(parts)

    def adapters_of(self, scope: Scope) -> dict[Adapter, float]:
        """The adapters of a scope with their strengths, whether merged or not; errors as in `find`.

        One that a mix has twice, by its name and itself, has the sum of both strengths.
        """
        found: dict[Adapter, float] = {}
        for part, strength in strengths(scope).items():
            adapter = self._adapter(part)
            found[adapter] = found.get(adapter, 0.0) + strength
        return found

    def _adapter(self, scope: str | Adapter) -> Adapter:
        if not isinstance(scope, Adapter):
            return self[scope]
        if scope.shape != self.shape:
            raise ScopeError(
                f"the adapter is for {scope.shape} and this model has {self.shape}; fine-tune it here again"
            )
        return scope

    def merge(self, scope: Scope, blocks: nn.ModuleList) -> None:
        """Adds a scope or mix to the weights of the blocks. Several may be merged, last in, first out."""
        if scope is None:
            raise ScopeError("the base model has nothing to merge into its weights; name a scope")
        label, adapters = scope_label(scope), self.adapters_of(scope)
        if any(merge.adapters == adapters for merge in self.merged):
            raise ScopeError(f"scope {label!r} is already merged")
        originals = []
        with torch.no_grad():
            for layer, block in zip(mix_adapters([*adapters.items()]).layers, blocks, strict=True):
                originals.append((block.fused.stored(), block.attention_out.stored()))
                block.fused.change_(_adding(torch.cat([layer[p].weight for p in INPUTS], dim=1).T))
                block.attention_out.change_(_adding(layer["out"].weight.T))
        self.merged.append(Merged(label, adapters, originals))

    def unmerge(self, scope: Scope, blocks: nn.ModuleList) -> None:
        """Restores, bit for bit, the weights from before `merge`. Only the last merge can be undone."""
        label, adapters = scope_label(scope), self.adapters_of(scope)
        if not any(merge.adapters == adapters for merge in self.merged):
            raise ScopeError(f"scope {label!r} is not merged")
        if (last := self.merged[-1]).adapters != adapters:
            raise ScopeError(f"scope {last.label!r} was merged after {label!r}; unmerge {last.label!r} first")
        with torch.no_grad():
            for block, (fused, out) in zip(blocks, self.merged.pop().before, strict=True):
                block.fused.restore_(fused)
                block.attention_out.restore_(out)


def _adding(added: Tensor) -> Callable[[Tensor], Tensor]:
    """A function that adds `added` to the first rows of a weight."""

    def change(weight: Tensor) -> Tensor:
        return torch.cat((weight[: len(added)] + added.to(weight.dtype), weight[len(added) :]))

    return change


def _side_by_side(parts: Sequence[LoRA]) -> LowRank:
    """Several updates of the same x as one, whose outputs stand side by side."""
    return LowRank(torch.cat([p.down for p in parts], dim=1), torch.block_diag(*[p.up for p in parts]))


def stack_adapters(adapters: Sequence[Adapter | None]) -> list[LayerAdapter] | None:
    """Batched updates, one per block, from each row's adapter; None if all rows use the base model."""
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
    """For each block one pair of factors for all rows.

    used: each adapter's factors, by block. of_row: which adapter each row has; None for the base model.
    """
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
    """Factors of each row, zeros for rows of the base model, ranks padded to the largest."""
    some = max(used, key=lambda low_rank: low_rank.down.shape[1])
    rank = some.down.shape[1]
    none = LowRank(torch.zeros_like(some.down), torch.zeros_like(some.up))
    rows = [none if place is None else used[place] for place in of_row]
    downs = [F.pad(row.down, (0, rank - row.down.shape[1])) for row in rows]
    ups = [F.pad(row.up, (0, 0, 0, rank - row.up.shape[0])) for row in rows]
    return LowRank(torch.stack(downs), torch.stack(ups))
