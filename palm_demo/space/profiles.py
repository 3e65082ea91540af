"""Whether a Space can load the profile that its Spacefile names."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from palm_demo.errors import FileError, ProfileError
from palm_demo.profiles import TINY, Chosen, Profile, choose, read_profile
from palm_demo.profiles.memory import GB, ZERO_GB
from palm_demo.space.checkout import Checkout
from palm_demo.space.requirements import FILE, required
from palm_demo.typed_yaml import Finding

VARIABLE = "PALM_DEMO_PROFILE"
PAGE_GB, DRIVER_GB = 1.5, 0.6
"""What the page, and what a GPU's driver, take of a machine's memory."""

INSTALLED_GB = 8
"""What torch and the other packages take of its disk."""


@dataclass(frozen=True)
class Machine:
    """One of the Hub's. memory_gb: the processor's. gpu_gb: the first GPU's, None without one. disk_gb: None
    where the Hub does not tell it. bfloat16: whether the GPU computes in it, or only emulates it."""

    memory_gb: float
    gpu_gb: float | None
    disk_gb: float | None
    bfloat16: bool = True

    @property
    def free(self) -> dict[str, int]:
        """Device -> bytes, as `free_memory` would say there."""
        free = {"cpu": int(GB * (self.memory_gb - PAGE_GB))}
        if self.gpu_gb is not None:
            free["cuda"] = int(GB * (self.gpu_gb - DRIVER_GB))
        return free

    @property
    def free_disk(self) -> int | None:
        """Bytes, as `free_disk` would say there."""
        return None if self.disk_gb is None else int(GB * (self.disk_gb - INSTALLED_GB))


MACHINES = {
    "cpu-basic": Machine(16, None, 50),
    "cpu-upgrade": Machine(32, None, 50),
    "t4-small": Machine(15, 16, 50, bfloat16=False),
    "t4-medium": Machine(30, 16, 100, bfloat16=False),
    "l4x1": Machine(30, 24, 400),
    "l4x4": Machine(186, 24, 3200),
    "a10g-small": Machine(15, 24, 110),
    "a10g-large": Machine(46, 24, 200),
    "a10g-largex2": Machine(92, 24, 1000),
    "a10g-largex4": Machine(184, 24, 2000),
    "l40sx1": Machine(62, 48, 380),
    "l40sx4": Machine(382, 48, 3200),
    "l40sx8": Machine(1534, 48, 6500),
    "a100-large": Machine(142, 80, 1000),
    "zero-a10g": Machine(ZERO_GB + PAGE_GB, None, None),
}
"""As the Hub's documentation has them (huggingface.co/docs/hub/spaces-gpus, August 2026). Of ZeroGPU it tells
no more than the GPU's memory: the machine is taken to have as much, and its disk is not counted."""


def profile_findings(checkout: Checkout) -> Iterator[Finding]:
    """It has to be there, fit the machine, and have what it needs to be downloaded and run."""
    name = profile_of(checkout)
    if name == TINY:
        return
    place = checkout.line_of(f"env.variables.{VARIABLE}")
    try:
        profile = read_profile(_where(checkout, name))
    except FileError as error:
        yield from error.findings
        return
    except ProfileError as error:
        wrong, _, remedy = str(error).partition("; ")
        yield Finding(place, wrong, remedy)
        return
    yield from _left_behind(checkout, name, place)
    yield from _fits(checkout, profile)
    yield from _transformers(checkout, profile)
    yield from _offline(checkout, profile)


def profile_of(checkout: Checkout) -> str:
    return checkout.settings.env.variables.get(VARIABLE) or TINY


def chosen_on(checkout: Checkout) -> Chosen | None:
    """What the requested machine will have of the profile; None where that is not known, or nothing but the
    bundled weights. Raises ProfileError where nothing fits."""
    name, hardware = profile_of(checkout), checkout.settings.hardware.request
    if name == TINY or hardware not in MACHINES:
        return None
    machine = MACHINES[hardware]
    profile = read_profile(_where(checkout, name))
    return choose(profile, machine.free, machine.free_disk, bfloat16=machine.bfloat16)


def emulated_on(checkout: Checkout, chosen: Chosen) -> list[str]:
    """Names of what would compute in bfloat16 on a GPU that only emulates it, slowly."""
    machine = MACHINES[checkout.settings.hardware.request]
    in_bfloat16 = [choice.name for choice in chosen.choices.values() if choice.dtype == "bfloat16"]
    return [] if machine.bfloat16 else in_bfloat16


def _where(checkout: Checkout, name: str) -> str | Path:
    """A file of the checkout, or else a name that the package knows."""
    return checkout.root / name if (checkout.root / name).is_file() else name


def _left_behind(checkout: Checkout, name: str, place: str) -> Iterator[Finding]:
    if (checkout.root / name).is_file() and name not in checkout.allowed:
        yield Finding(place, f"{VARIABLE} is {name}, which does not go along", "git add it, and allow it")


def _fits(checkout: Checkout, profile: Profile) -> Iterator[Finding]:
    try:
        chosen_on(checkout)
    except ProfileError as error:
        wrong, _, remedy = str(error).partition("; ")
        hardware = checkout.settings.hardware.request
        yield Finding(checkout.line_of("hardware.request"), f"on {hardware} {wrong}", remedy)


def _transformers(checkout: Checkout, profile: Profile) -> Iterator[Finding]:
    """The Hub installs requirements.txt and no extras."""
    there = {requirement.name for _, requirement in required(checkout)}
    if profile.flamingo and (checkout.root / FILE).is_file() and "transformers" not in there:
        wrong = f"it lacks transformers, on which the OpenFlamingo of {profile_of(checkout)} stands"
        yield Finding(f"{FILE}:1", wrong, "add transformers>=5.20,<5.25")


def _offline(checkout: Checkout, profile: Profile) -> Iterator[Finding]:
    offline = checkout.settings.env.variables.get("HF_HUB_OFFLINE", "0")
    if offline.lower() in ("", "0", "false", "no", "off"):
        return
    preloaded = {entry.split()[0] for entry in checkout.settings.hub.preload if entry.strip()}
    repos = {f.repo for some in profile.systems.values() for one in some.values() for f in one.files}
    if missing := sorted(repos - preloaded):
        yield Finding(
            checkout.line_of("env.variables.HF_HUB_OFFLINE"),
            f"HF_HUB_OFFLINE keeps {profile_of(checkout)} from downloading {missing[0]} and "
            f"{len(missing) - 1} more",
            "take it out, or name them under hub.preload",
        )
