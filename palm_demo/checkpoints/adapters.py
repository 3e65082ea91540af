"""LoRA scopes as files of their own, without the weights they were trained on."""

from pathlib import Path

import torch

from palm_demo.checkpoints import files
from palm_demo.errors import CheckpointError
from palm_demo.models import PaLM

KIND = "scope"


def save_scope(path: Path, palm: PaLM, name: str) -> None:
    """Writes one scope. Raises ScopeError when it is unknown."""
    adapter = palm.scopes[name]
    files.write(path, adapter.state_dict(), {"kind": KIND, "rank": adapter.rank}, torch.bfloat16)


def load_scope(path: Path, palm: PaLM, name: str) -> None:
    """Adds the file's scope under `name`. Raises ScopeError when the name is taken or not
    allowed, CheckpointError when the file does not fit this model; then nothing is added."""
    tensors, description = files.read(path, KIND)
    rank = description.get("rank")
    if not isinstance(rank, int) or not 1 <= rank <= 1024:
        raise CheckpointError(f"{path} has rank {rank!r}; a scope's rank is 1 to 1024")
    adapter = palm.add_scope(name, rank)
    try:
        files.load_into(adapter, tensors, path)
    except CheckpointError:
        palm.remove_scope(name)
        raise
