"""A device that is not there: tensors say they are on it and mix with no others, and are computed here.

Whoever forgets to move a tensor to a GPU finds out on a GPU alone; with this, on any machine. The device
is called "meta", the only one of torch's that needs no driver.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

DEVICE = torch.device("meta")
aten = torch.ops.aten
COPIES = {aten._to_copy.default, aten.copy_.default}
INDEXED = {
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
}
"""Whose places, the second argument, may be tensors of the processor, as on a GPU. So may single numbers be
anywhere."""


class Pretended(Tensor):
    """held: the same on the processor."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor) -> "Pretended":
        like = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        needs = {"requires_grad": held.requires_grad, "device": DEVICE}
        return Tensor._make_wrapper_subclass(cls, held.shape, **like, **needs)

    def __init__(self, held: Tensor):
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return computed(function, args, kwargs or {})


def computed(function: Callable, args: tuple, kwargs: dict) -> object:
    """An operation of aten, on what the tensors hold. Raises RuntimeError where some are on the
    device and others are not."""
    leaves, structure = tree_flatten((args, kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    others = [tensor for tensor in tensors if not isinstance(tensor, Pretended)]
    theirs = {id(tensor.held): tensor for tensor in tensors if isinstance(tensor, Pretended)}
    if theirs and function not in COPIES:
        places = {id(place) for place in tree_flatten(args[1])[0]} if function in INDEXED else set()
        if strangers := [other for other in others if other.ndim and id(other) not in places]:
            raise RuntimeError(f"{function} of tensors on {DEVICE} and on {strangers[0].device}")
    goes = bool(theirs) if kwargs.get("device") is None else torch.device(kwargs["device"]) == DEVICE
    here = [leaf.held if isinstance(leaf, Pretended) else leaf for leaf in leaves]
    args, kwargs = tree_unflatten(here, structure)
    if kwargs.get("device") is not None:
        kwargs["device"] = torch.device("cpu")
    given = {id(tensor) for tensor in others}

    def back(made: Tensor) -> Tensor:
        if id(made) in theirs:
            return theirs[id(made)]
        return Pretended(made) if goes and id(made) not in given else made

    return tree_map_only(Tensor, back, function(*args, **kwargs))


class _Made(TorchDispatchMode):
    """Tensors that are made on the device, or go there."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return computed(function, args, kwargs or {})


class _Met(TorchFunctionMode):
    """What torch does with a tensor's numbers before any operation of aten."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            return function(*args, **{**kwargs, "device": None}).to(kwargs["device"])
        if not args or not isinstance(args[0], Pretended):
            return function(*args, **kwargs)
        if function is Tensor.new_tensor:
            return torch.tensor(*args[1:], dtype=args[0].dtype).to(DEVICE)
        if function is Tensor.tolist or (function is Tensor.numpy and kwargs.get("force")):
            return function(args[0].held, *args[1:], **kwargs)
        if function in (Tensor.__getitem__, Tensor.__setitem__):
            places = args[1] if isinstance(args[1], tuple) else (args[1],)
            places = (torch.tensor(p).to(DEVICE) if isinstance(p, list) else p for p in places)
            args = (args[0], tuple(places), *args[2:])
        return function(*args, **kwargs)


@contextlib.contextmanager
def pretended_device() -> Iterator[None]:
    """In all threads that begin meanwhile, too. Without autocast and inference mode, which know the real
    devices alone."""
    begin, autocast, asked = threading.Thread.run, torch.autocast, torch.is_autocast_enabled

    def run(thread: threading.Thread) -> None:
        with _Met(), _Made():
            begin(thread)

    def autocast_here(kind: str, *arguments, **settings):
        pretended = kind == DEVICE.type
        return contextlib.nullcontext() if pretended else autocast(kind, *arguments, **settings)

    swapping = torch.__future__.get_swap_module_params_on_conversion()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "run", run)
        patch.setattr(torch, "autocast", autocast_here)
        patch.setattr(torch, "is_autocast_enabled", lambda kind="cuda": kind != DEVICE.type and asked(kind))
        patch.setattr(torch, "inference_mode", lambda mode=True: torch.set_grad_enabled(not mode))
        torch.__future__.set_swap_module_params_on_conversion(True)
        try:
            with _Met(), _Made():
                yield
        finally:
            torch.__future__.set_swap_module_params_on_conversion(swapping)
