"""Which of a profile's choices fit into the memory that there is."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

from palm_demo.errors import ProfileError
from palm_demo.profiles.description import Choice, FlamingoChoice, MammutChoice, PalmChoice, Profile
from palm_demo.profiles.memory import GB


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


def choose(profile: Profile, free: Mapping[str, int]) -> Chosen:
    """The best combination that fits: that whose choices stand first in their lists, all places taken
    together, and of several such that which takes the most memory.

    free: device -> bytes, as `free_memory` says. Raises ProfileError when none fits, with what the least of
    them takes, and when a GPU is named and none is there.
    """
    systems = profile.systems
    ranked = []
    for names in product(*systems.values()):
        picked = {system: systems[system][name] for system, name in zip(systems, names, strict=True)}
        places = [list(systems[s]).index(name) for s, name in zip(systems, names, strict=True)]
        ranked.append((sum(places), -sum(choice.memory_gb for choice in picked.values()), picked))
    ranked.sort(key=lambda combination: combination[:2])
    for _, _, picked in ranked:
        devices = {system: device_of(choice, free) for system, choice in picked.items()}
        if all(taken(picked, devices, device) <= free[device] for device in set(devices.values())):
            return Chosen(**{s: picked.get(s) for s in ("palm", "flamingo", "mammut")}, devices=devices)
    raise ProfileError(_too_little([picked for *_, picked in ranked], free))


def device_of(choice: Choice, free: Mapping[str, int]) -> str:
    """Raises ProfileError when it asks for a GPU and there is none."""
    if choice.device == "cuda" and "cuda" not in free:
        raise ProfileError(f"{choice.name} asks for a GPU and there is none; write device: auto, or cpu")
    if choice.device == "auto":
        return "cuda" if "cuda" in free else "cpu"
    return choice.device


def taken(picked: Mapping[str, Choice], devices: Mapping[str, str], device: str) -> int:
    """Bytes on one device."""
    return int(GB * sum(choice.memory_gb for system, choice in picked.items() if devices[system] == device))


def _too_little(combinations: list[Mapping[str, Choice]], free: Mapping[str, int]) -> str:
    least = min(combinations, key=lambda picked: sum(choice.memory_gb for choice in picked.values()))
    devices = {system: device_of(choice, free) for system, choice in least.items()}
    where = {"cuda": "GPU memory", "cpu": "memory"}
    short = [
        f"{taken(least, devices, device) / GB:.1f} GB of {where[device]} where {free[device] / GB:.1f} GB "
        "are free"
        for device in sorted(set(devices.values()))
        if taken(least, devices, device) > free[device]
    ]
    names = ", ".join(choice.name for choice in least.values())
    return (
        f"there is too little memory: even {names} takes {' and '.join(short)}; take a larger machine, or "
        "leave a system out of the profile"
    )
