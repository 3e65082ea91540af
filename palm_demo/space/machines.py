"""The Hub's machines, and which of the profile's choices the requested machine will run."""

from dataclasses import dataclass
from pathlib import Path

from palm_demo.profiles import GB, TINY, Chosen, choose, read_profile
from palm_demo.profiles.choosing import ZERO_GB
from palm_demo.space.checkout import Checkout

VARIABLE = "PALM_DEMO_PROFILE"
FREE = "cpu-basic"
ZERO = "zero-a10g"
"""The Hub's name of ZeroGPU, after its first GPUs."""

ZERO_PYTHONS = ("3.12", "3.12.12", "3.10", "3.10.13")
ZERO_TORCHES = ("2.8.0", "2.9.1", "2.10.0", "2.11.0")
"""Versions that ZeroGPU has (huggingface.co/docs/hub/spaces-zerogpu). The newest torch that a range
allows is taken."""

FIXED_SLEEP, FIXED_SLEEP_SECONDS = (FREE, ZERO), 48 * 3600
"""Machines whose sleep time cannot be changed, and that time."""

PAGE_GB, DRIVER_GB = 1.5, 0.6
"""Memory that the page and a GPU's driver take."""

INSTALLED_GB = 8
"""Disk that torch and the other packages take."""


@dataclass(frozen=True)
class Machine:
    """One of the Hub's machines.

    Attributes:
        memory_gb: of the machine.
        gpu_gb: of the first GPU; None without one.
        disk_gb: None if the Hub does not say.
        bfloat16: whether the GPU computes in it, and does not only emulate it.
    """

    memory_gb: float
    gpu_gb: float | None
    disk_gb: float | None
    bfloat16: bool = True

    @property
    def free(self) -> dict[str, int]:
        """Free bytes by device, as `free_memory` would return there."""
        free = {"cpu": int(GB * (self.memory_gb - PAGE_GB))}
        if self.gpu_gb is not None:
            free["cuda"] = int(GB * (self.gpu_gb - DRIVER_GB))
        return free

    @property
    def free_disk(self) -> int | None:
        """Free bytes of disk, as `free_disk` would return there."""
        return None if self.disk_gb is None else int(GB * (self.disk_gb - INSTALLED_GB))


MACHINES = {
    FREE: Machine(16, None, 50),
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
    ZERO: Machine(ZERO_GB + PAGE_GB, None, None),
}
"""From the Hub's documentation (huggingface.co/docs/hub/spaces-gpus, August 2026). For ZeroGPU it gives
only the GPU's memory: the machine is assumed to have as much, and its disk is not counted."""


def profile_of(checkout: Checkout) -> str:
    """The profile that the Spacefile's variables name."""
    return checkout.settings.env.variables.get(VARIABLE) or TINY


def chosen_on(checkout: Checkout) -> Chosen | None:
    """The choices that the requested machine will run; None if unknown, or only the bundled weights.

    Raises ProfileError if nothing fits.
    """
    name, hardware = profile_of(checkout), checkout.settings.hardware.request
    if name == TINY or hardware not in MACHINES:
        return None
    machine = MACHINES[hardware]
    profile = read_profile(profile_source(checkout, name))
    return choose(profile, machine.free, machine.free_disk, bfloat16=machine.bfloat16)


def emulated_on(checkout: Checkout, chosen: Chosen) -> list[str]:
    """Names of choices that would run in bfloat16 on a GPU that only emulates it, slowly."""
    machine = MACHINES[checkout.settings.hardware.request]
    in_bfloat16 = [choice.name for choice in chosen.choices.values() if choice.dtype == "bfloat16"]
    return [] if machine.bfloat16 else in_bfloat16


def profile_source(checkout: Checkout, name: str) -> str | Path:
    """The source of a profile: a file of the checkout, or else a name that the package knows."""
    return checkout.root / name if (checkout.root / name).is_file() else name
