"""Whether a Space can load the profile that its Spacefile names."""

from collections.abc import Iterator
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

MEMORY_GB = {
    "cpu-basic": (16, None),
    "cpu-upgrade": (32, None),
    "t4-small": (15, 16),
    "t4-medium": (30, 16),
    "l4x1": (30, 24),
    "l4x4": (186, 24),
    "a10g-small": (15, 24),
    "a10g-large": (46, 24),
    "a10g-largex2": (92, 24),
    "a10g-largex4": (184, 24),
    "l40sx1": (62, 48),
    "l40sx4": (382, 48),
    "l40sx8": (1534, 48),
    "a100-large": (142, 80),
    "zero-a10g": (ZERO_GB + PAGE_GB, None),
}
"""Of the Hub's machines the memory and that of the first GPU (huggingface.co/docs/hub/spaces-gpus). Of
ZeroGPU the Hub tells no more than the GPU's: the machine is taken to have as much."""


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
    if name == TINY or hardware not in MEMORY_GB:
        return None
    memory, gpu = MEMORY_GB[hardware]
    free = {"cpu": int(GB * (memory - PAGE_GB))}
    if gpu is not None:
        free["cuda"] = int(GB * (gpu - DRIVER_GB))
    return choose(read_profile(_where(checkout, name)), free)


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
        yield Finding(f"{FILE}:1", wrong, "add transformers>=5.23,<6")


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
