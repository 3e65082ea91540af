"""Converts pickled weights to safetensors once, without running code that a pickle may contain."""

import os
import pickle
import shutil
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from palm_demo.errors import CheckpointError
from palm_demo.weight_files import converted_name, is_pickle

SOURCE = "converted_from"
NESTED = ("model_state_dict", "state_dict")
"""Keys under which training scripts store the weights."""


def beside(path: Path) -> Path:
    """The path of the safetensors file that a pickle is converted to."""
    return path.with_name(converted_name(path.name))


def is_there(path: Path) -> bool:
    """Whether weights can be read from a path: it exists, or it was a pickle and its conversion exists."""
    return path.is_file() or (is_pickle(path.name) and beside(path).is_file())


def converted(path: Path) -> Path:
    """The safetensors file beside a pickle, made if it is missing or older than the pickle.

    If the pickle has been removed since, the file is taken as it is. Raises CheckpointError when the
    pickle is damaged, cut short or holds more than tensors, or when the file cannot be written.
    """
    made = beside(path)
    if path.is_file() and not _is_of(made, path):
        _write(made, path, _independent(_flat(_unpickled(path), path)))
    return made


def _identity(path: Path) -> str:
    """What tells a pickle from another one with the same name: its size and time."""
    found = path.stat()
    return f"{found.st_size} bytes of {found.st_mtime_ns}"


def _is_of(made: Path, path: Path) -> bool:
    if not made.is_file():
        return False
    try:
        with safe_open(made, framework="pt") as file:
            return (file.metadata() or {}).get(SOURCE) == _identity(path)
    except (SafetensorError, OSError):
        return False


def _unpickled(path: Path) -> object:
    """Loads a pickle. In torch's newer format tensors stay on disk until they are read."""
    whole = zipfile.is_zipfile(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=whole)
    except Exception as error:  # torch raises whatever its readers do
        if whole and isinstance(error, pickle.UnpicklingError):
            raise CheckpointError(
                f"{path} holds more than tensors, and reading that could run code; use a file of weights "
                "alone, best safetensors"
            ) from error
        raise CheckpointError(
            f"{path} is damaged, was not downloaded to its end, or holds no weights "
            f"({type(error).__name__}); delete it and download it again"
        ) from error


def _flat(content: object, path: Path) -> dict[str, Tensor]:
    """The tensors by the model's names, without what a training script put around them."""
    if isinstance(content, dict):
        content = next((content[name] for name in NESTED if name in content), content)
    if not isinstance(content, dict) or not content:
        raise CheckpointError(f"{path} holds no tensors by name; use the file with the model's weights")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path} has {name!r} of type {type(value).__name__} among its tensors; use the file with "
                "the model's weights alone"
            )
    wrapped = all(name.startswith("module.") for name in content)
    return {name.removeprefix("module.") if wrapped else name: t for name, t in content.items()}


def _independent(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gives each tensor its own memory, as safetensors requires; tied weights are copied."""
    seen: set[int] = set()
    alone = {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != tensor.nbytes or not tensor.is_contiguous():
            tensor = tensor.clone(memory_format=torch.contiguous_format)
        seen.add(storage.data_ptr())
        alone[name] = tensor
    return alone


def _write(made: Path, path: Path, tensors: dict[str, Tensor]) -> None:
    """Writes the file completely or not at all."""
    needed, free = sum(t.nbytes for t in tensors.values()), shutil.disk_usage(made.parent).free
    remedy = f"make room for {needed:,} bytes there, or put a safetensors file in its place"
    if needed > free:
        raise CheckpointError(
            f"{path} has to be converted beside itself, and {made.parent} has {free:,} bytes free; {remedy}"
        )
    partial = made.with_name(f".{made.name}.{os.getpid()}.part")
    try:
        save_file(tensors, partial, metadata={SOURCE: _identity(path)})
        partial.replace(made)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{made} cannot be written ({error}); {remedy}") from error
    finally:
        partial.unlink(missing_ok=True)
