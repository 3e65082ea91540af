"""LoRA scopes as files of their own, without the weights they were trained on."""

from pathlib import Path

import torch

from palm_demo.checkpoints import files
from palm_demo.checkpoints.files import fingerprint
from palm_demo.checkpoints.numeric_checks import AttentionNorms, attention_norms, check_tensors, check_update
from palm_demo.errors import CheckpointError
from palm_demo.models import PaLM
from palm_demo.models.cpu_linear import Weights
from palm_demo.models.lora import Adapter

KIND = "scope"
HIGHEST_RANK = 256
HEADER_BYTES = 100_000
"""More than names and shapes of a deep model's adapter take."""


def save_adapter(path: Path, palm: PaLM, adapter: Adapter, base: str | None = None) -> None:
    """Writes an adapter, and which base weights it belongs to. base: their fingerprint, where it is known
    already; a large model's takes seconds."""
    description = {"kind": KIND, "rank": adapter.rank, "base": base or fingerprint(Weights(palm.decoder))}
    files.write(path, adapter.state_dict(), description, torch.bfloat16)


def load_adapter(
    path: Path,
    palm: PaLM,
    highest_rank: int = HIGHEST_RANK,
    base: str | None = None,
    norms: AttentionNorms | None = None,
) -> Adapter:
    """The file's adapter, which nobody but the caller has. base: as in `save_adapter`. norms: those of the
    model's attention, where they are known already.

    The file may come from anywhere: CheckpointError unless it is a safetensors file no larger than
    the highest rank asks for, with the names and shapes of an adapter that was trained on these very
    weights, and with finite numbers that add no more to them than `check_update` lets by.
    """
    fits = 4 * palm.scopes.shape.num_weights(highest_rank) + HEADER_BYTES
    if path.is_file() and (size := path.stat().st_size) > fits:
        raise CheckpointError(
            f"{path} has {size:,} bytes and a scope of rank {highest_rank}, the highest, has {fits:,} at "
            "most; teach one of a lower rank"
        )
    tensors, description = files.read(path, KIND)
    rank = description.get("rank")
    if type(rank) is not int or not 1 <= rank <= highest_rank:
        raise CheckpointError(f"{path} has rank {rank!r:.80}; a scope's rank is 1 to {highest_rank}")
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise CheckpointError(
                f"{path} has values in {name:.80} that are no finite numbers but whole ones; teach it again"
            )
    adapter = palm.new_adapter(rank)
    files.load_into(adapter, tensors, path)
    check_tensors(adapter.state_dict(), path, adapter)  # a number may be too large for the model's dtype
    mine = base or fingerprint(Weights(palm.decoder))
    if (theirs := description.get("base")) != mine:
        raise CheckpointError(
            f"{path} was trained on other base weights ({theirs!s:.80}) than these ({mine}) and means "
            "nothing to them; teach it again here"
        )
    check_update(adapter, norms or attention_norms(palm.decoder.blocks), path)
    return adapter.requires_grad_(False)


def save_scope(path: Path, palm: PaLM, name: str) -> None:
    """Writes one scope. Raises ScopeError when it is unknown."""
    save_adapter(path, palm, palm.scopes[name])


def load_scope(path: Path, palm: PaLM, name: str) -> None:
    """Adds the file's scope under `name`. Raises ScopeError when the name is taken or not allowed,
    CheckpointError as `load_adapter` does; then nothing is added."""
    adapter = load_adapter(path, palm)
    palm.add_scope(name, adapter.rank).load_state_dict(adapter.state_dict())
