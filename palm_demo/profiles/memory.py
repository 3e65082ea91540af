"""How much memory there is to load models into."""

import os
from pathlib import Path

import psutil
import torch

GB = 1_000_000_000
CGROUP = Path("/sys/fs/cgroup")
LIMITS = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
)
"""Of the two kinds of control groups: what a container may have, what it has, and what of that are files that
were read and can go."""


ZERO_GB = 45
"""What fits on the smaller half of a GPU that ZeroGPU lends: more takes a whole one, as the package `spaces`
has it (`xlarge_threshold`), and costs visitors twice the quota."""


def on_zerogpu() -> bool:
    """Whether this is a Space with ZeroGPU, read as the package `spaces` reads it."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def free_memory() -> dict[str, int]:
    """Device -> bytes that are free there: "cpu", and "cuda" where there is a GPU.

    With ZeroGPU weights are in this process's memory, and workers move them to a GPU: it is "cpu", with
    room for what fits on both.
    """
    free = {"cpu": min(psutil.virtual_memory().available, *_left_to_container(CGROUP))}
    if on_zerogpu():
        return {"cpu": min(free["cpu"], ZERO_GB * GB)}
    if torch.cuda.is_available():
        free["cuda"], _ = torch.cuda.mem_get_info()
    return free


def computes_in_bfloat16() -> bool:
    """Whether the GPU does, rather than emulating it as a T4 would; true where there is none."""
    return on_zerogpu() or not torch.cuda.is_available() or torch.cuda.is_bf16_supported(False)


def _left_to_container(root: Path) -> list[int]:
    """What a container's limit leaves, which may be less than the machine has; nothing without a limit."""
    left = [2**63 - 1]
    for most, used, files in LIMITS:
        try:
            limit, taken = (root / most).read_text().strip(), int((root / used).read_text())
            told = (root / used).with_name("memory.stat").read_text().split()
        except (OSError, ValueError):
            continue
        kept = dict(zip(told[::2], told[1::2], strict=False)).get(files, 0)
        if limit.isdigit():
            left.append(max(0, int(limit) - taken + int(kept)))
    return left
