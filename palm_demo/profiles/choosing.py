"""Which of a profile's choices fit into the memory and onto the disk that there are."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from palm_demo.errors import ProfileError
from palm_demo.profiles.description import Choice, File, FlamingoChoice, MammutChoice, PalmChoice, Profile
from palm_demo.profiles.disk import disk_needed
from palm_demo.profiles.memory import GB

WHERE = {"cuda": "GPU memory", "cpu": "memory"}


@dataclass(frozen=True)
class Chosen:
    """One choice for each system that the profile names, None for the bundled weights.

    devices: system -> "cpu" or "cuda".
    """

    palm: PalmChoice | None
    flamingo: FlamingoChoice | None
    mammut: MammutChoice | None
    devices: Mapping[str, str]

    @property
    def choices(self) -> dict[str, Choice]:
        """By system, those that are not bundled."""
        every = {"palm": self.palm, "flamingo": self.flamingo, "mammut": self.mammut}
        return {system: choice for system, choice in every.items() if choice is not None}

    @property
    def told(self) -> str:
        """Such as "PaLM 1b, OpenFlamingo 4B": for logs."""
        return ", ".join(choice.name for choice in self.choices.values())

    @property
    def files(self) -> list[File]:
        """All that has to be there for it, each once."""
        return list(dict.fromkeys(_files(self.choices)))

    @property
    def downloads_gb(self) -> float:
        """Billions of bytes of all files, as far as the profile says their sizes."""
        return sum(file.gb or 0.0 for file in self.files)

    @property
    def disk_gb(self) -> float:
        """Billions of bytes of disk that there have to be while they are downloaded."""
        return disk_needed(self.files) / GB


def choose(
    profile: Profile,
    free: Mapping[str, int],
    disk: int | None = None,
    downloaded: Callable[[File], bool] = lambda file: False,
    bfloat16: bool = True,
) -> Chosen:
    """The best combination that fits: that whose choices stand first in their lists, all places taken
    together, and of several such that which takes the most memory.

    free: device -> bytes, as `free_memory` says. disk: bytes that are free for what has to be downloaded;
    None where nobody knows. downloaded: says of a file that it is there already. bfloat16: whether the GPU
    computes in it; where it does not, choices come in the dtype that they name for that.

    Raises ProfileError when none fits, with what the least of them takes, and when a GPU is named and none
    is there.
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
    """picked: one choice for each system. devices: where each would be."""

    picked: Mapping[str, Choice]
    devices: Mapping[str, str]

    def taken(self, device: str) -> int:
        """Bytes on one device."""
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
    """Smaller is better."""
    places = [list(profile.systems[system].values()).index(choice) for system, choice in picked.items()]
    return sum(places), -sum(choice.memory_gb for choice in picked.values())


def _placed(picked: Mapping[str, Choice], free: Mapping[str, int], bfloat16: bool) -> _Combination:
    """On the devices that there are, in dtypes that these compute in."""
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
    """Raises ProfileError when it asks for a GPU and there is none."""
    if choice.device == "cuda" and "cuda" not in free:
        raise ProfileError(f"{choice.name} asks for a GPU and there is none; write device: auto, or cpu")
    if choice.device == "auto":
        return "cuda" if "cuda" in free else "cpu"
    return choice.device


def _short_of_memory(one: _Combination, free: Mapping[str, int]) -> list[str]:
    """What it takes and what there is, of each device that it does not fit on."""
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
