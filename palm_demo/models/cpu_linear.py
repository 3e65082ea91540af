"""Linear maps for decoding on a CPU, which run as fast as weights can be read from memory.

A `Projection` is torch's `Linear` without bias until `pack_` turns its weight into the form that the
processor multiplies fastest. The weight is then in memory once, in that form. Reading `weight` turns
it back into a parameter, and the projection is a plain one from then on.
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
    pack_in_8_bits,
)

FEW_ROWS = 64
"""The most rows for which a packed or plain product by oneDNN is faster than `linear`."""

ROWS_AT_ONCE = 1024
"""Rows of a plain weight that are converted to fp32 at a time."""

_changing = threading.RLock()
"""Held while a projection's weight changes or takes another form."""


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """`F.linear`, by the fastest way where a CPU decodes a few rows."""
    if decodes_few(x, weight) and multiplies_plain(weight):
        return multiply_plain(x, weight)
    return F.linear(x, weight)


def linear_in_fp32(x: Tensor, weight: Tensor) -> Tensor:
    """(..., k) times a bf16 weight -> (..., n) in fp32. Where a CPU decodes a few rows, nothing is
    rounded to bf16."""
    if not decodes_few(x, weight):
        return F.linear(x, weight).float()
    return torch.cat([F.linear(x.float(), some.float()) for some in weight.split(ROWS_AT_ONCE)], dim=-1)


def decodes(x: Tensor, weight: Tensor) -> bool:
    """Whether a CPU multiplies without gradients or autocast, in the weight's own dtype."""
    plain = not torch.is_grad_enabled() and not torch.is_autocast_enabled(x.device.type)
    return plain and x.device.type == "cpu" and x.dtype == weight.dtype


def decodes_few(x: Tensor, weight: Tensor) -> bool:
    """Whether a CPU multiplies a few rows without gradients or autocast, in the weight's own dtype."""
    return decodes(x, weight) and 0 < x.numel() <= FEW_ROWS * x.shape[-1]


def multiply_packed(x: Tensor, packed: PackedWeight, dtype: torch.dtype) -> Tensor:
    """(..., k) times a packed weight -> (..., n) of the dtype, without a gradient."""
    if x.dtype != packed.dtype:
        return F.linear(x, packed.dense().to(x.dtype)).to(dtype)
    if not x.numel():
        return x.new_empty(*x.shape[:-1], packed.shape[0], dtype=dtype)
    return (packed.multiply(x) if x.ndim > 1 else packed.multiply(x[None])[0]).to(dtype)


class _ThroughPacked(torch.autograd.Function):
    """A product with a packed weight that has a gradient for x. The backward pass unpacks one weight at a
    time."""

    @staticmethod
    def forward(ctx, x: Tensor, packed: PackedWeight) -> Tensor:
        ctx.packed = packed
        return multiply_packed(x, packed, x.dtype)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient @ ctx.packed.dense().to(gradient.dtype), None


class Projection(nn.Linear):
    """A linear map without bias, whose weight can be packed.

    While it is packed, `parameters()` has a parameter without values on the meta device in its place;
    `state_dict`, copies and pickles have the weight.
    """

    _packed: PackedWeight | None = None
    _in_8_bits = False

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
        """Whether the weight is packed."""
        return self._packed is not None

    @property
    def weight(self) -> nn.Parameter:
        """The weight (dim_out, dim_in). Reading a packed weight unpacks it for good."""
        with _changing:
            if self._packed is not None:
                with torch.inference_mode(False):  # it may learn again
                    self._parameters["weight"] = nn.Parameter(self._packed.dense(), requires_grad=False)
                self._packed = None
            if "weight" not in self._parameters:  # while torch makes the layer
                raise AttributeError("weight")
            return self._parameters["weight"]

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """Registers a parameter, and forgets the packed weight. Setting `weight` comes here too."""
        super().register_parameter(name, param)
        self._packed = None

    def pack_(self, in_8_bits: bool = False) -> None:
        """Packs the weight, which then cannot be trained any more.

        It stays as it is on other devices than the CPU, and if this processor has no faster form.
        in_8_bits: whether it may be rounded.
        """
        with _changing:
            self._in_8_bits = in_8_bits
            if self._packed is None and (packed := self._pack(self._parameters["weight"])) is not None:
                self._hold(packed)

    def _pack(self, weight: Tensor) -> PackedWeight | None:
        return (pack_in_8_bits(weight) if self._in_8_bits else None) or pack(weight)

    def _hold(self, packed: PackedWeight) -> None:
        outline = torch.empty(packed.shape, dtype=packed.dtype, device="meta")
        self._packed = packed
        self._parameters["weight"] = nn.Parameter(outline, requires_grad=False)

    def stored(self) -> PackedWeight | Tensor:
        """What `restore_` takes: the packed weight, or a copy of one that is not packed."""
        with _changing:
            return self._packed or self._parameters["weight"].detach().clone()

    @torch.no_grad()
    def restore_(self, stored: PackedWeight | Tensor) -> None:
        """Restores a weight from `stored`, bit for bit."""
        with _changing:
            if self._packed is not None and not isinstance(stored, Tensor):
                self._packed = stored
            else:
                self.change_(lambda _: stored if isinstance(stored, Tensor) else stored.dense())

    @property
    def held(self) -> PackedWeight | Tensor:
        """What holds the weight now. Once that has changed, it is another object or in another state."""
        with _changing:
            return self._packed or self._parameters["weight"]

    def dense(self) -> Tensor:
        """The weight (dim_out, dim_in) without a gradient; of a packed one a copy, and it stays packed."""
        with _changing:
            return self._parameters["weight"].detach() if self._packed is None else self._packed.dense()

    @torch.no_grad()
    def change_(self, change: Callable[[Tensor], Tensor]) -> None:
        """Replaces the weight by `change(weight)`, packed if it was packed.

        A product that begins later uses the new weight; one under way in another thread uses the old
        one.
        """
        with _changing:
            packed, changed = self._packed is not None, change(self.dense())
            if packed and (again := self._pack(changed)) is not None:
                self._packed = again
            else:
                self.weight.copy_(changed)

    def __getstate__(self) -> dict:
        """The state for copies and pickles, with an unpacked weight."""
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
        """Applies a function to the weight, which stays packed if device and dtype do not change."""
        with _changing:
            if (packed := self._packed) is not None:
                kept = fn(torch.empty(0, dtype=packed.dtype))
                if kept.device.type == "cpu" and kept.dtype == packed.dtype:
                    return self
                self.weight  # noqa: B018 - unpacks it
            return super()._apply(fn, recurse)


def pack_(model: nn.Module, in_8_bits: bool = False) -> nn.Module:
    """Packs all weights of a model on a CPU that will only decode.

    The outputs stay the same up to rounding, and the memory does not grow.

    in_8_bits: rounds the weights to 8 bits, where the processor has products of these. Their products
    take about half of bf16's memory and time, and are off by 2 %.
    """
    for module in model.modules():
        if isinstance(module, Packable):
            module.pack_(in_8_bits)
    give_back_memory()
    return model


@runtime_checkable
class Packable(Protocol):
    """The interface of modules with weights that can be packed."""

    def pack_(self, in_8_bits: bool = False) -> None: ...


class Weights(Mapping[str, Tensor]):
    """A model's `state_dict` that unpacks a weight when it is read, without storing the result."""

    def __init__(
        self,
        model: nn.Module,
        without: tuple[str, ...] = (),
        instead: Mapping[str, PackedWeight | Tensor] | None = None,
    ):
        """without: prefixes of the names of weights to leave out. instead: what some weights are taken to
        be, as `Projection.stored` gave them."""
        self.model, self._instead = model, instead or {}
        named = model.state_dict(keep_vars=True)
        self._named = {name: t for name, t in named.items() if not name.startswith(without)}

    def __getitem__(self, name: str) -> Tensor:
        if (stored := self._instead.get(name)) is not None:
            return stored if isinstance(stored, Tensor) else stored.dense()
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
