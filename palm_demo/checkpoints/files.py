"""Our weights files: safetensors with a JSON description in the header, written, read and fingerprinted."""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from palm_demo.checkpoints.numeric_checks import check_tensors
from palm_demo.errors import CheckpointError, shown

DIGITS = 16
OF_SYSTEM = re.compile(r"\(os error (\d{1,4})\)")
"""How safetensors ends the message of a disk's error."""
LONGEST_NAME = 200
"""The longest name that an error quotes in full. One in a file may have as many letters as the file."""


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """A fingerprint of weights and their names.

    It is of the weights in bf16, as they are stored, so a cast to fp32 and back does not change it.
    """
    seen = hashlib.sha256()
    for name in sorted(weights):
        stored = weights[name].detach().to("cpu", torch.bfloat16).contiguous()
        seen.update(f"{name}{tuple(stored.shape)}".encode())
        seen.update(stored.flatten().view(torch.uint8).numpy())
    return seen.hexdigest()[:DIGITS]


def mismatch(wanted: Mapping[str, tuple[int, ...]], given: Mapping[str, Tensor]) -> str:
    """The first names that are missing, unexpected or of a wrong shape, as a sentence; "" if there are
    none."""
    wrong = [
        f"{name} is {_shape(given[name].shape)}, not {_shape(wanted[name])}"
        for name in sorted(wanted.keys() & given.keys())
        if tuple(given[name].shape) != tuple(wanted[name])
    ]
    problems = (
        ("missing", sorted(wanted.keys() - given.keys())),
        ("unexpected", [_name(name) for name in sorted(given.keys() - wanted.keys())]),
        ("wrong shape", wrong),
    )
    return "; ".join(f"{what}: {', '.join(names[:3])}" for what, names in problems if names)


def _name(name: object) -> str:
    """A name in a file, which may be anything, as an error quotes it."""
    is_plain = isinstance(name, str) and len(name) <= LONGEST_NAME and name.isprintable()
    return str(name) if is_plain else shown(name)


def _shape(shape: Sequence[int]) -> str:
    return shown(tuple(shape))


DESCRIPTION = "palm_demo"


def write(path: Path, tensors: Mapping[str, Tensor], description: dict, dtype: torch.dtype) -> None:
    """Writes a file completely or not at all, with floating tensors in `dtype`. Raises OSError."""
    stored = {
        name: t.detach().to(dtype if t.is_floating_point() else t.dtype).contiguous()
        for name, t in tensors.items()
    }
    with written_whole(path) as partial:
        save_file(stored, partial, metadata={DESCRIPTION: json.dumps(description, sort_keys=True)})
        partial.chmod(0o644)  # safetensors makes files that only their owner can read


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yields where to write a file, which stands at `path` after the `with` or, if that fails, nowhere.

    Raises OSError with what the disk said, for which safetensors and torch have errors of their own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{uuid4().hex}.part")  # nobody else's, beside it and thus on its disk
    try:
        yield partial
        partial.replace(path)
    except (SafetensorError, RuntimeError) as error:
        if (number := _disk_error(error)) is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


def _disk_error(error: Exception) -> int | None:
    """The number of the error of the disk behind another one; None if there is none."""
    if found := OF_SYSTEM.search(str(error)):
        return int(found[1])
    return error.__context__.errno if isinstance(error.__context__, OSError) else None


def read(path: Path, kind: str) -> tuple[dict[str, Tensor], dict]:
    """Reads tensors and description.

    Raises CheckpointError when the file is missing, damaged, or describes something other than `kind`.
    """
    if not os.path.isfile(path):  # of a name that is too long, Path.is_file raises OSError
        raise CheckpointError(f"there is no weights file at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {error!s:.200}") from error
    try:
        description = json.loads(metadata[DESCRIPTION])
        found = description["kind"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} does not say what it holds; it is not one of ours") from error
    if found != kind:
        raise CheckpointError(f"{path} holds a {_name(found)}, not a {kind}")
    return tensors, description


def load_into(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copies every tensor into a newly made module, in the module's dtype.

    Raises CheckpointError that names the first tensors that are missing, unexpected or of a wrong
    shape, or the first whose numbers cannot be weights; then nothing is copied.
    """
    wanted = {name: tuple(t.shape) for name, t in module.state_dict(keep_vars=True).items()}
    if problems := mismatch(wanted, tensors):
        raise CheckpointError(f"{path} does not fit the model: {problems}")
    check_tensors(tensors, path, module)
    module.load_state_dict(dict(tensors))
