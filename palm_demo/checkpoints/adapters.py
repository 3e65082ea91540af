"""LoRA adapters as files of their own, without the weights they were trained on."""

import os
from pathlib import Path

import torch

from palm_demo.checkpoints import files
from palm_demo.checkpoints.files import fingerprint
from palm_demo.checkpoints.numeric_checks import AttentionNorms, attention_norms, check_tensors, check_update
from palm_demo.errors import CheckpointError, shown
from palm_demo.models import PaLM
from palm_demo.models.lora import Adapter

KIND = "scope"
HIGHEST_RANK = 256
HEADER_BYTES = 100_000
"""More bytes than the header of a deep model's adapter takes."""


def save_adapter(path: Path, palm: PaLM, adapter: Adapter, base: str | None = None) -> None:
    """Writes an adapter, with the fingerprint of the base weights that it belongs to.

    base: that fingerprint, if it is known already; computing a large model's takes seconds.
    """
    description = {"kind": KIND, "rank": adapter.rank, "base": base or fingerprint(palm.base_weights())}
    files.write(path, adapter.state_dict(), description, torch.bfloat16)


def load_adapter(
    path: Path,
    palm: PaLM,
    highest_rank: int = HIGHEST_RANK,
    base: str | None = None,
    norms: AttentionNorms | None = None,
) -> Adapter:
    """Reads an adapter from a file.

    The file may come from anywhere. It has to be a safetensors file, no larger than the highest rank
    needs, with the names and shapes of an adapter, trained on these very weights, with finite numbers
    and updates that `check_update` allows.

    Args:
        path: the file.
        palm: the model.
        highest_rank: the highest rank that is accepted.
        base: as in `save_adapter`.
        norms: those of the model's attention, if they are known already.

    Raises CheckpointError for any other file.
    """
    fits = 4 * palm.scopes.shape.num_weights(highest_rank) + HEADER_BYTES
    if os.path.isfile(path) and (size := path.stat().st_size) > fits:
        raise CheckpointError(
            f"{path} has {size:,} bytes and a scope of rank {highest_rank}, the highest, has {fits:,} at "
            "most; fine-tune one of a lower rank"
        )
    tensors, description = files.read(path, KIND)
    rank = description.get("rank")
    if type(rank) is not int or not 1 <= rank <= highest_rank:
        raise CheckpointError(f"{path} has rank {shown(rank)}; a scope's rank is 1 to {highest_rank}")
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise CheckpointError(
                f"{path} has values in {name:.80} that are whole numbers, not fractions; fine-tune it again"
            )
    adapter = palm.new_adapter(rank)
    files.load_into(adapter, tensors, path)
    check_tensors(adapter.state_dict(), path, adapter)  # a number may be too large for the model's dtype
    mine = base or fingerprint(palm.base_weights())
    if (theirs := description.get("base")) != mine:
        raise CheckpointError(
            f"{path} was trained on other base weights ({shown(theirs)}) than these ({mine}) and means "
            "nothing to them; fine-tune it again here"
        )
    check_update(adapter, norms or attention_norms(palm), path)
    return adapter.requires_grad_(False)


def load_scope(path: Path, palm: PaLM, name: str) -> None:
    """Adds the adapter of a file to the model under a name.

    Raises ScopeError when the name is taken or not allowed, and CheckpointError as `load_adapter`
    does; then nothing is added.
    """
    adapter = load_adapter(path, palm)
    palm.add_scope(name, adapter.rank).load_state_dict(adapter.state_dict())
