"""Weights that are read from disk tensor by tensor, to fill models made on the meta device.

A tensor is read when it is asked for, and is not cached. Reading one after the other into a model, on
any device and in any dtype, takes the memory of the weights once.
"""

import math
import re
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from palm_demo.checkpoints.files import mismatch
from palm_demo.checkpoints.numeric_checks import check_tensor
from palm_demo.checkpoints.pickles import converted, is_there
from palm_demo.errors import CheckpointError, shown
from palm_demo.weight_files import SAFETENSORS, is_index, read_index

HEADS = ("lm_head.weight",)
"""transformers' names of a language model's head. An index also lists a head that is tied to the
embedding, although no shard stores it."""

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class SafetensorsFile:
    """An open safetensors file. Raises CheckpointError if it is damaged or cut short."""

    def __init__(self, path: Path):
        self.path = path
        try:
            self.file = safe_open(path, framework="pt")
        except (SafetensorError, OSError) as error:
            raise self._unreadable(error) from error

    def names(self) -> list[str]:
        return list(self.file.keys())

    def meta_tensor(self, name: str) -> Tensor:
        """The shape and dtype of a tensor, as a tensor on the meta device."""
        stored = self.file.get_slice(name)
        if (dtype := stored.get_dtype()) not in DTYPES:
            raise CheckpointError(f"{name} in {self.path} is of type {dtype}; known: {', '.join(DTYPES)}")
        return torch.empty(stored.get_shape(), dtype=DTYPES[dtype], device="meta")

    def read(self, name: str) -> Tensor:
        try:
            return self.file.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> CheckpointError:
        return CheckpointError(
            f"{self.path} is damaged or was not downloaded to its end ({error}); delete it and download it "
            "again"
        )


class StoredTensors(Mapping[str, Tensor]):
    """Tensors by name, each read from its file whenever it is asked for."""

    def __init__(self, files: Mapping[str, SafetensorsFile]):
        """files: the file of each name."""
        self.files = files
        self.meta_tensors = {name: file.meta_tensor(name) for name, file in files.items()}

    def __getitem__(self, name: str) -> Tensor:
        return self.files[name].read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)


def open_weights(path: Path) -> StoredTensors:
    """Opens the weights of others.

    path: a safetensors file, the `.index.json` of several, or a pickle of tensors (.pt, .pth, .bin). A
    pickle is converted once, to a file beside it, and is not needed any more from then on.

    A head that an index lists and no shard has is left out. A model whose head is not tied to its
    embedding needs it, and is then refused.

    Raises CheckpointError when something is missing, damaged or cut short, when a pickle holds more
    than tensors, or when there is no room to convert it.
    """
    path = Path(path)
    if not is_there(path):
        raise CheckpointError(f"there is no weights file at {path}")
    if is_index(path.name):
        return StoredTensors(_shards(path))
    file = _open(path)
    return StoredTensors({name: file for name in file.names()})


def part(tensors: Mapping[str, Tensor], beginning: str) -> Mapping[str, Tensor]:
    """The tensors whose names have a prefix. Stored tensors are not read for it."""
    if isinstance(tensors, StoredTensors):
        return StoredTensors({n: file for n, file in tensors.files.items() if n.startswith(beginning)})
    return {name: tensor for name, tensor in tensors.items() if name.startswith(beginning)}


def meta_tensors(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Tensors with the same names, shapes and dtypes. Stored tensors are not read for it."""
    return tensors.meta_tensors if isinstance(tensors, StoredTensors) else tensors


def source_of(tensors: Mapping[str, Tensor], name: str) -> str:
    """The name of a tensor's source for error messages."""
    return str(tensors.files[name].path) if isinstance(tensors, StoredTensors) else "the checkpoint"


def _open(path: Path) -> SafetensorsFile:
    return SafetensorsFile(path if path.suffix == SAFETENSORS else converted(path))


def _shards(index: Path) -> dict[str, SafetensorsFile]:
    """The file of each name, according to an index."""
    try:
        places = read_index(index)
    except ValueError as error:
        raise CheckpointError(
            f"{index} is not an index of weights ({error}); delete it and download it again"
        ) from error
    shards = {shard: index.parent / shard for shard in sorted(set(places.values()))}
    for shard, path in shards.items():
        if not is_there(path):
            raise CheckpointError(f"{index} names {shard}, which is not beside it; download it too")
    opened = {shard: _open(path) for shard, path in shards.items()}
    for shard, file in opened.items():
        promised = {name for name, place in places.items() if place == shard}
        missing = promised - set(file.names())
        for head in missing.intersection(HEADS):
            del places[head]
        if lacking := sorted(missing.difference(HEADS)):
            raise CheckpointError(
                f"{file.path} lacks {', '.join(lacking[:3])}, which {index.name} says it has; download "
                "both again"
            )
    return {name: opened[shard] for name, shard in places.items()}


class InferredSizes:
    """Sizes of a model, inferred from the shapes of its tensors.

    All methods raise CheckpointError if the tensors cannot be of the layout.
    """

    def __init__(self, layout: str, tensors: Mapping[str, Tensor]):
        self.layout, self.tensors = layout, meta_tensors(tensors)

    def shape(self, name: str, axes: int) -> tuple[int, ...]:
        """The shape of a tensor, which has to have this number of axes."""
        if name not in self.tensors:
            raise self._misfit(f"missing: {name}")
        shape = tuple(self.tensors[name].shape)
        if len(shape) != axes or 0 in shape:
            raise self._misfit(
                f"wrong shape: {name} is {shown(shape)}, which has to have {axes} axes, none empty"
            )
        return shape

    def depth(self, stem: str) -> int:
        """The number of blocks whose names begin with `stem` and a number."""
        pattern = re.compile(rf"{re.escape(stem)}\.(\d+)\.")
        numbers = {found[1] for name in self.tensors if (found := pattern.match(name))}
        depth = next(number for number in count() if str(number) not in numbers)
        if depth == 0 or depth < len(numbers):  # a number may be made up, and would make a model as deep
            raise self._misfit(f"missing: {stem}.{depth}")
        return depth

    def multiple(self, name: str, whole: int, part: int, of: str) -> int:
        """whole / part, which has to be an integer. `of` says what `whole` is divided into."""
        if part < 1 or whole % part:
            raise self._misfit(f"{name} is of width {whole}, which cannot be divided into {of} ({part})")
        return whole // part

    def side(self, name: str, places: int) -> int:
        """The side of a square of `places` patches."""
        side = math.isqrt(max(places, 0))
        if side < 1 or side * side != places:
            raise self._misfit(f"{name} has {places} places for patches, which make no square")
        return side

    def _misfit(self, problems: str) -> CheckpointError:
        return CheckpointError(f"these tensors do not fit {self.layout}: {problems}")


def fill(
    model: nn.Module,
    layout: str,
    tensors: Mapping[str, Tensor],
    names: Mapping[str, str],
    beside: Mapping[str, tuple[int, ...]],
    device: torch.device | str | None,
    dtype: torch.dtype | None,
) -> nn.Module:
    """Loads tensors into a model made on the meta device, and returns it in eval mode.

    Args:
        model: on the meta device.
        layout: its name for messages.
        tensors: the weights. Stored tensors are read one after another; others are copied.
        names: our name -> the file's, for every weight of the model.
        beside: shapes of further tensors that the file has to have.
        device, dtype: of the weights; None leaves them as they are.

    A single number may be stored as () or (1,), as publishers' code has done both. Raises
    CheckpointError that names the first tensors that are missing, unexpected or of a wrong shape,
    before one is read; or the first with numbers that are not finite, or a matrix of zeros.
    """
    empty, given = model.state_dict(), meta_tensors(tensors)
    wanted = {theirs: tuple(empty[ours].shape) for ours, theirs in names.items()} | dict(beside)
    wanted |= {name: (1,) for name, shape in wanted.items() if not shape and _is_number(given.get(name))}
    if problems := mismatch(wanted, given):
        raise CheckpointError(f"these tensors do not fit {layout}: {problems}")
    shared = not isinstance(tensors, StoredTensors)
    made = {}
    for ours, theirs in names.items():
        weight = tensors[theirs].detach().to(device=device, dtype=dtype, copy=shared).view(empty[ours].shape)
        check_tensor(theirs, weight, source_of(tensors, theirs), may_be_zero=weight.ndim < 2)
        made[ours] = weight
    model.load_state_dict(made, assign=True)
    return model.eval()


def _is_number(meta_tensor: Tensor | None) -> bool:
    return meta_tensor is not None and tuple(meta_tensor.shape) == (1,)
