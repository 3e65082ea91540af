"""A device that is not there: its tensors say they are elsewhere, mix with no others, are computed here.

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

ELSEWHERE = torch.device("meta")
aten = torch.ops.aten
MAY_MIX = {
    aten._to_copy.default,
    aten.copy_.default,
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
}
"""As on a GPU: copies, and places that are given by the processor's tensors; single numbers besides."""


class Elsewhere(Tensor):
    """held: the same on the processor."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor) -> "Elsewhere":
        like = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        needs = {"requires_grad": held.requires_grad, "device": ELSEWHERE}
        return Tensor._make_wrapper_subclass(cls, held.shape, **like, **needs)

    def __init__(self, held: Tensor):
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return computed(function, args, kwargs or {})


def computed(function: Callable, args: tuple, kwargs: dict) -> object:
    """An operation of aten, on what the tensors hold. Raises RuntimeError where some are elsewhere and
    others are not."""
    leaves, structure = tree_flatten((args, kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    strangers = [tensor for tensor in tensors if not isinstance(tensor, Elsewhere) and tensor.ndim]
    theirs = {id(tensor.held): tensor for tensor in tensors if isinstance(tensor, Elsewhere)}
    if theirs and strangers and function not in MAY_MIX:
        raise RuntimeError(f"{function} of tensors elsewhere and on {strangers[0].device}")
    goes = bool(theirs) if kwargs.get("device") is None else torch.device(kwargs["device"]) == ELSEWHERE
    here = [leaf.held if isinstance(leaf, Elsewhere) else leaf for leaf in leaves]
    args, kwargs = tree_unflatten(here, structure)
    if kwargs.get("device") is not None:
        kwargs["device"] = torch.device("cpu")
    given = {id(tensor) for tensor in strangers}

    def back(made: Tensor) -> Tensor:
        if id(made) in theirs:
            return theirs[id(made)]
        return Elsewhere(made) if goes and id(made) not in given else made

    return tree_map_only(Tensor, back, function(*args, **kwargs))


class _Made(TorchDispatchMode):
    """Tensors that are made elsewhere, or go there."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return computed(function, args, kwargs or {})


class _Met(TorchFunctionMode):
    """What torch does with a tensor's numbers before any operation of aten."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            return function(*args, **{**kwargs, "device": None}).to(kwargs["device"])
        if not args or not isinstance(args[0], Elsewhere):
            return function(*args, **kwargs)
        if function is Tensor.new_tensor:
            return torch.tensor(*args[1:], dtype=args[0].dtype).to(ELSEWHERE)
        if function is Tensor.tolist or (function is Tensor.numpy and kwargs.get("force")):
            return function(args[0].held, *args[1:], **kwargs)
        if function in (Tensor.__getitem__, Tensor.__setitem__):
            places = args[1] if isinstance(args[1], tuple) else (args[1],)
            places = (torch.tensor(p).to(ELSEWHERE) if isinstance(p, list) else p for p in places)
            args = (args[0], tuple(places), *args[2:])
        return function(*args, **kwargs)


@contextlib.contextmanager
def there_is_an_elsewhere() -> Iterator[None]:
    """In all threads that begin meanwhile, too. Without autocast and inference mode, which know the real
    devices alone."""
    begin, autocast, asked = threading.Thread.run, torch.autocast, torch.is_autocast_enabled

    def run(thread: threading.Thread) -> None:
        with _Met(), _Made():
            begin(thread)

    def autocast_here(kind: str, *arguments, **settings):
        is_elsewhere = kind == ELSEWHERE.type
        return contextlib.nullcontext() if is_elsewhere else autocast(kind, *arguments, **settings)

    swapping = torch.__future__.get_swap_module_params_on_conversion()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "run", run)
        patch.setattr(torch, "autocast", autocast_here)
        patch.setattr(
            torch, "is_autocast_enabled", lambda kind="cuda": kind != ELSEWHERE.type and asked(kind)
        )
        patch.setattr(torch, "inference_mode", torch.no_grad)
        torch.__future__.set_swap_module_params_on_conversion(True)
        try:
            with _Met(), _Made():
                yield
        finally:
            torch.__future__.set_swap_module_params_on_conversion(swapping)
