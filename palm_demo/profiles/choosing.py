"""Chooses which of a profile's weights fit into the memory and onto the disk."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import psutil
from huggingface_hub import constants

from palm_demo.errors import ProfileError
from palm_demo.profiles.description import (
    Choice,
    File,
    FlamingoChoice,
    MammutChoice,
    PalmChoice,
    Profile,
)
from palm_demo.weight_files import holds_pickles

WHERE = {"cuda": "GPU memory", "cpu": "memory"}
GB = 1_000_000_000
CGROUP = Path("/sys/fs/cgroup")
LIMITS = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
)
"""Files of the two versions of control groups: a container's limit, its usage, and the part of the usage
that is file cache and can be freed."""

ZERO_GB = 45
"""What fits on half of a ZeroGPU. More takes a whole one, by the package `spaces` (`xlarge_threshold`),
and costs visitors twice the quota."""


@dataclass(frozen=True)
class Chosen:
    """The choice for each model that the profile names; None for the bundled weights.

    Attributes:
        devices: model -> "cpu" or "cuda".
    """

    palm: PalmChoice | None
    flamingo: FlamingoChoice | None
    mammut: MammutChoice | None
    devices: Mapping[str, str]

    @property
    def choices(self) -> dict[str, Choice]:
        """The choices that are not bundled, by model."""
        every = {"palm": self.palm, "flamingo": self.flamingo, "mammut": self.mammut}
        return {system: choice for system, choice in every.items() if choice is not None}

    @property
    def summary(self) -> str:
        """The names of the choices, such as "PaLM 1b, OpenFlamingo 4B"."""
        return ", ".join(choice.name for choice in self.choices.values())

    @property
    def files(self) -> list[File]:
        """The files that all choices need, each once."""
        return list(dict.fromkeys(_files(self.choices)))

    @property
    def downloads_gb(self) -> float:
        """The size of all files in billions of bytes, as far as the profile gives sizes."""
        return sum(file.gb or 0.0 for file in self.files)

    @property
    def disk_gb(self) -> float:
        """Free disk that the download needs, in billions of bytes."""
        return disk_needed(self.files) / GB


def choose(
    profile: Profile,
    free: Mapping[str, int],
    disk: int | None = None,
    downloaded: Callable[[File], bool] = lambda file: False,
    bfloat16: bool = True,
) -> Chosen:
    """The best combination of choices that fits.

    The best is the one whose choices stand first in their lists, added up over the models; of several
    such, the one that takes the most memory.

    Args:
        profile: the choices.
        free: free bytes by device, as of `free_memory`.
        disk: free bytes for downloads; None if unknown.
        downloaded: whether a file is there already.
        bfloat16: whether the GPU computes in it. If not, choices get the dtype that they name for that
            case.

    Raises ProfileError when none fits, with what the smallest one takes, and when a choice needs a GPU
    and there is none.
    """
    combinations = [
        _placed(picked, free, bfloat16)
        for picked in sorted(_combinations(profile), key=lambda picked: _rank(picked, profile))
    ]
    fitting = [one for one in combinations if not _short_of_memory(one, free)]
    if not fitting:
        raise ProfileError(_too_little_memory(combinations, free))
    for one in fitting:
        if disk is None or disk_needed(_files(one.picked), downloaded) <= disk:
            chosen = {system: one.picked.get(system) for system in ("palm", "flamingo", "mammut")}
            return Chosen(**chosen, devices=one.devices)
    raise ProfileError(_too_little_disk(fitting, disk, downloaded))


@dataclass(frozen=True)
class _Combination:
    """One choice for each model, and the device of each."""

    picked: Mapping[str, Choice]
    devices: Mapping[str, str]

    def taken(self, device: str) -> int:
        """Bytes that the choices take on a device."""
        on_it = (choice for system, choice in self.picked.items() if self.devices[system] == device)
        return int(GB * sum(choice.memory_on(device) for choice in on_it))

    @property
    def names(self) -> str:
        return ", ".join(choice.name for choice in self.picked.values())


def _combinations(profile: Profile) -> Iterator[dict[str, Choice]]:
    systems = profile.systems
    for choices in product(*(named.values() for named in systems.values())):
        yield dict(zip(systems, choices, strict=True))


def _rank(picked: Mapping[str, Choice], profile: Profile) -> tuple[int, float]:
    """Sort key of combinations, best first."""
    places = [list(profile.systems[system].values()).index(choice) for system, choice in picked.items()]
    return sum(places), -sum(choice.memory_gb for choice in picked.values())


def _placed(picked: Mapping[str, Choice], free: Mapping[str, int], bfloat16: bool) -> _Combination:
    """A combination with devices, in dtypes that these compute in."""
    devices = {system: device_of(choice, free) for system, choice in picked.items()}
    if not bfloat16:
        picked = {
            system: choice.in_dtype(choice.without_bfloat16)
            if choice.without_bfloat16 and choice.dtype == "bfloat16" and devices[system] == "cuda"
            else choice
            for system, choice in picked.items()
        }
    return _Combination(picked, devices)


def device_of(choice: Choice, free: Mapping[str, int]) -> str:
    """The device of a choice. Raises ProfileError when it needs a GPU and there is none."""
    if choice.device == "cuda" and "cuda" not in free:
        raise ProfileError(f"{choice.name} asks for a GPU and there is none; write device: auto, or cpu")
    if choice.device == "auto":
        return "cuda" if "cuda" in free else "cpu"
    return choice.device


def _short_of_memory(one: _Combination, free: Mapping[str, int]) -> list[str]:
    """For each device on which a combination does not fit, what it takes and what is free."""
    return [
        f"{one.taken(device) / GB:.1f} GB of {WHERE[device]} where {free[device] / GB:.1f} GB are free"
        for device in sorted(set(one.devices.values()))
        if one.taken(device) > free[device]
    ]


def _too_little_memory(combinations: Sequence[_Combination], free: Mapping[str, int]) -> str:
    least = min(combinations, key=lambda one: sum(choice.memory_gb for choice in one.picked.values()))
    short = " and ".join(_short_of_memory(least, free))
    return (
        f"there is too little memory: even {least.names} takes {short}; take a larger machine, leave a "
        "system out of the profile, or take the profile small"
    )


def _too_little_disk(
    combinations: Sequence[_Combination], disk: int, downloaded: Callable[[File], bool]
) -> str:
    sizes = [disk_needed(_files(one.picked), downloaded) for one in combinations]
    names = combinations[sizes.index(min(sizes))].names
    return (
        f"there is too little disk: even {names} takes {min(sizes) / GB:.1f} GB while it is downloaded, and "
        f"{disk / GB:.1f} GB are free; make room, take a machine with more disk, or set HF_HOME to a folder "
        "on a larger one"
    )


def _files(picked: Mapping[str, Choice]) -> list[File]:
    return [file for choice in picked.values() for file in choice.files]


def on_zerogpu() -> bool:
    """Whether this is a Space with ZeroGPU, determined as the package `spaces` does."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def free_memory() -> dict[str, int]:
    """Free bytes by device: "cpu", and "cuda" if there is a GPU.

    With ZeroGPU only "cpu": weights are in this process's memory and workers move them to a GPU, so
    the figure is what fits on both.
    """
    free = {"cpu": min(psutil.virtual_memory().available, *_left_to_container(CGROUP))}
    if on_zerogpu():
        return {"cpu": min(free["cpu"], ZERO_GB * GB)}
    import torch

    if torch.cuda.is_available():
        free["cuda"], _ = torch.cuda.mem_get_info()
    return free


def computes_in_bfloat16() -> bool:
    """Whether the GPU computes in bfloat16, and does not emulate it as a T4 does. True without a GPU."""
    import torch

    return on_zerogpu() or not torch.cuda.is_available() or torch.cuda.is_bf16_supported(False)


def _left_to_container(root: Path) -> list[int]:
    """Bytes that a container's limit leaves, if there is one."""
    left = [2**63 - 1]
    for most, used, files in LIMITS:
        try:
            limit, taken = (root / most).read_text().strip(), int((root / used).read_text())
            lines = (root / used).with_name("memory.stat").read_text().split()
        except (OSError, ValueError):
            continue
        cached = dict(zip(lines[::2], lines[1::2], strict=False)).get(files, 0)
        if limit.isdigit():
            left.append(max(0, int(limit) - taken + int(cached)))
    return left


def free_disk() -> int:
    """Free bytes where the Hub's client stores downloads."""
    folder = Path(constants.HF_HUB_CACHE)
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(there).free


def disk_needed(files: Iterable[File], downloaded: Callable[[File], bool] = lambda file: False) -> int:
    """Bytes that a profile's files take while they are downloaded, as far as it gives sizes.

    An index of pickles counts like a single pickle. `downloaded`: whether a file is there and takes no
    more room.
    """
    missing = [file for file in dict.fromkeys(files) if not any(map(downloaded, file.names))]
    return room_needed([(int(GB * (file.gb or 0)), holds_pickles(file.file)) for file in missing])


def room_needed(sizes: Sequence[tuple[int, bool]]) -> int:
    """Bytes that are needed to download files, given as (size, whether it is a pickle).

    Pickles are downloaded first, the largest before the others. Each is written again as safetensors
    and then removed.
    """
    done = most = 0
    for size_bytes in sorted((size for size, is_pickle in sizes if is_pickle), reverse=True):
        most = max(most, done + 2 * size_bytes)
        done += size_bytes
    return max(most, done + sum(size for size, is_pickle in sizes if not is_pickle))
