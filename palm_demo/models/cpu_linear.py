"""Linear maps that decode at the speed of memory: what writing on a CPU spends its time on.

A `Projection` is torch's `Linear` without bias until `pack_` puts its weight into the form that the
processor multiplies fastest. The weight is then in memory once, in that form. Whoever asks for `weight`
gets a parameter again, and the projection is a plain one from then on.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from palm_demo.models.packed_weights import (
    PackedWeight,
    give_back_memory,
    multiplies_plain,
    multiply_plain,
    pack,
)

FEW_ROWS = 64
"""Beyond these, weights are read once for many rows and `linear` is as fast."""

ROWS_AT_ONCE = 1024
"""Of a plain weight that is made fp32 piece by piece."""

_changing = threading.RLock()
"""Held while a projection's weight changes or takes another form."""


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """`F.linear`, by whatever is fastest where a CPU decodes a few rows."""
    if decodes_few(x, weight) and multiplies_plain(weight):
        return multiply_plain(x, weight)
    return F.linear(x, weight)


def linear_in_fp32(x: Tensor, weight: Tensor) -> Tensor:
    """(..., k) times a bf16 weight -> (..., n) in fp32, never rounded where a CPU decodes a few rows."""
    if not decodes_few(x, weight):
        return F.linear(x, weight).float()
    return torch.cat([F.linear(x.float(), some.float()) for some in weight.split(ROWS_AT_ONCE)], dim=-1)


def decodes(x: Tensor, weight: Tensor) -> bool:
    """Whether a CPU multiplies for nobody to learn from, in the weight's own dtype."""
    plain = not torch.is_grad_enabled() and not torch.is_autocast_enabled(x.device.type)
    return plain and x.device.type == "cpu" and x.dtype == weight.dtype


def decodes_few(x: Tensor, weight: Tensor) -> bool:
    """The same of a few rows."""
    return decodes(x, weight) and 0 < x.numel() <= FEW_ROWS * x.shape[-1]


def multiply_packed(x: Tensor, packed: PackedWeight, dtype: torch.dtype) -> Tensor:
    """(..., k) times a packed weight -> (..., n) of the dtype, without a gradient."""
    if x.dtype != packed.dtype:
        return F.linear(x, packed.dense().to(x.dtype)).to(dtype)
    if not x.numel():
        return x.new_empty(*x.shape[:-1], packed.shape[0], dtype=dtype)
    return (packed.multiply(x) if x.ndim > 1 else packed.multiply(x[None])[0]).to(dtype)


class _ThroughPacked(torch.autograd.Function):
    """The same with a gradient for x. The weight is unpacked for the way back, one projection at a time."""

    @staticmethod
    def forward(ctx, x: Tensor, packed: PackedWeight) -> Tensor:
        ctx.packed = packed
        return multiply_packed(x, packed, x.dtype)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient @ ctx.packed.dense().to(gradient.dtype), None


class Projection(nn.Linear):
    """A linear map without bias, whose weight can be packed.

    While it is, `parameters()` has in its place one on the meta device, of its shape and dtype and without
    numbers; `state_dict`, copies and pickles have the weight.
    """

    _packed: PackedWeight | None = None

    def __init__(self, dim_in: int, dim_out: int):
        super().__init__(dim_in, dim_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weight, packed = self._parameters["weight"], self._packed
        if packed is None:
            # where another thread has unpacked it between the two, the first was its outline
            return linear(x, self._parameters["weight"] if weight.is_meta else weight)
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        if torch.is_grad_enabled() and x.requires_grad:
            return _ThroughPacked.apply(x, packed)
        return multiply_packed(x, packed, x.dtype)

    @property
    def packed(self) -> bool:
        """Whether the weight is in a form for products alone."""
        return self._packed is not None

    @property
    def weight(self) -> nn.Parameter:
        """(dim_out, dim_in). Asking for a packed one unpacks it for good."""
        with _changing:
            if self._packed is not None:
                with torch.inference_mode(False):  # it may learn again
                    self._parameters["weight"] = nn.Parameter(self._packed.dense(), requires_grad=False)
                self._packed = None
            if "weight" not in self._parameters:  # while torch makes the layer
                raise AttributeError("weight")
            return self._parameters["weight"]

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """As torch's; also what setting `weight` comes to."""
        super().register_parameter(name, param)
        self._packed = None

    def pack_(self) -> None:
        """Packs the weight, which cannot learn any more. It stays as it is where it is on another device
        than the CPU, or this processor has no faster form."""
        with _changing:
            if self._packed is None and (packed := pack(self._parameters["weight"])) is not None:
                outline = torch.empty(packed.shape, dtype=packed.dtype, device="meta")
                self._packed = packed
                self._parameters["weight"] = nn.Parameter(outline, requires_grad=False)

    def dense(self) -> Tensor:
        """(dim_out, dim_in) without a gradient: the weight, or a copy of one that stays packed."""
        with _changing:
            return self._parameters["weight"].detach() if self._packed is None else self._packed.dense()

    @torch.no_grad()
    def change_(self, change: Callable[[Tensor], Tensor]) -> None:
        """Puts `change(weight)` in the weight's place, in the form that this has. A product that begins
        later has the new weight, one under way in another thread the old."""
        with _changing:
            packed, changed = self._packed is not None, change(self.dense())
            if packed and (again := pack(changed)) is not None:
                self._packed = again
            else:
                self.weight.copy_(changed)

    def __getstate__(self) -> dict:
        """For copies and pickles: a plain one."""
        with _changing:
            state = self.__dict__ | {"_parameters": self._parameters.copy()}
            if self._packed is not None:
                state["_parameters"]["weight"] = nn.Parameter(self._packed.dense(), requires_grad=False)
                del state["_packed"]
            return state

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if not keep_vars:
            destination[f"{prefix}weight"] = self.dense()

    def _load_from_state_dict(self, *arguments) -> None:
        self.weight  # noqa: B018 - unpacks it
        super()._load_from_state_dict(*arguments)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        """A packed weight stays so where fn leaves device and dtype alone."""
        with _changing:
            if (packed := self._packed) is not None:
                kept = fn(torch.empty(0, dtype=packed.dtype))
                if kept.device.type == "cpu" and kept.dtype == packed.dtype:
                    return self
                self.weight  # noqa: B018 - unpacks it
            return super()._apply(fn, recurse)


def pack_(model: nn.Module) -> nn.Module:
    """Puts all weights of a model that stands on a CPU, and will only decode, into the forms that are
    multiplied fastest. The model gives what it gave, up to rounding, and takes no more memory than before."""
    for module in model.modules():
        if isinstance(module, Packable):
            module.pack_()
    give_back_memory()
    return model


@runtime_checkable
class Packable(Protocol):
    """A module with weights that can be packed."""

    def pack_(self) -> None: ...


class Weights(Mapping[str, Tensor]):
    """A model's `state_dict`, of which a packed weight is unpacked when it is asked for, and not kept."""

    def __init__(self, model: nn.Module, without: tuple[str, ...] = ()):
        """without: what the names of weights that are left out begin with."""
        self.model = model
        named = model.state_dict(keep_vars=True)
        self._named = {name: t for name, t in named.items() if not name.startswith(without)}

    def __getitem__(self, name: str) -> Tensor:
        path, _, own = name.rpartition(".")
        module = self.model.get_submodule(path)
        return (
            module.dense()
            if isinstance(module, Projection) and own == "weight"
            else self._named[name].detach()
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._named)

    def __len__(self) -> int:
        return len(self._named)
