"""Finds what is wrong with a Space before it is deployed, offline. One function per kind of mistake."""

from collections.abc import Iterator
from pathlib import Path

import yaml
from huggingface_hub import SpaceHardware
from packaging.requirements import Requirement

from palm_demo.errors import Diagnostic, FileError, ProfileError
from palm_demo.internals.hub_client import front_matter
from palm_demo.profiles import TINY, Profile, read_profile
from palm_demo.space.card import card_data, read_exactly, with_front_matter
from palm_demo.space.checkout import Checkout
from palm_demo.space.lock import REQUIREMENTS, check_lock, requirement_lines, requirements
from palm_demo.space.machines import (
    FIXED_SLEEP,
    FIXED_SLEEP_SECONDS,
    VARIABLE,
    ZERO,
    ZERO_PYTHONS,
    ZERO_TORCHES,
    chosen_on,
    profile_of,
    profile_source,
)

RENDER = "run python -m palm_demo.space render"


def check(root: Path) -> list[Diagnostic]:
    """All that is wrong with the checkout in a folder. Raises SpaceError if it is not in git."""
    checkout = Checkout(root)
    try:
        _ = checkout.settings
    except FileError as error:
        return list(error.diagnostics)
    return [diagnostic for one in CHECKS for diagnostic in one(checkout)]


def _drift(checkout: Checkout) -> Iterator[Diagnostic]:
    """Checks that the README's front matter is what `render` writes."""
    path, settings = checkout.root / "README.md", checkout.settings
    if not path.is_file():
        return  # it is needed, and so found by _files
    text = read_exactly(path)
    if text == with_front_matter(text, settings):
        return
    block, wanted = front_matter(text), card_data(settings).to_dict()
    if block is None:
        yield Diagnostic("README.md:1", "it has no front matter", RENDER)
        return
    try:
        written = yaml.safe_load(block.group(2))
    except yaml.YAMLError:
        written = None
    if not isinstance(written, dict):
        yield Diagnostic("README.md:1", "its front matter is not YAML of keys and values", RENDER)
        return
    differing = [key for key in {**wanted, **written} if written.get(key) != wanted.get(key)]
    for key in differing:
        wrong = f"its front matter has {key} {written.get(key)!r}, the Spacefile {wanted.get(key)!r}"
        yield Diagnostic("README.md:1", wrong, RENDER)
    if not differing:
        yield Diagnostic("README.md:1", "its front matter is written in another way", RENDER)


def _hardware(checkout: Checkout) -> Iterator[Diagnostic]:
    """Checks that the Hub has the machines, and that the machine allows the sleep time."""
    names, hardware = [one.value for one in SpaceHardware], checkout.settings.hardware
    for key in ("suggested", "request"):
        name = getattr(hardware, key)
        if name not in names:
            remedy = f"take one of {', '.join(names)}"
            yield Diagnostic(checkout.line_of(f"hardware.{key}"), f"hardware.{key} is {name!r}", remedy)
    machine, seconds = hardware.request, hardware.sleep_seconds
    if machine in FIXED_SLEEP and seconds != FIXED_SLEEP_SECONDS:
        yield Diagnostic(
            checkout.line_of("hardware.sleep_seconds"),
            f"hardware.sleep_seconds is {seconds}, and {machine} always sleeps after 48 hours",
            f"write {FIXED_SLEEP_SECONDS}, or request other hardware",
        )


def _environment(checkout: Checkout) -> Iterator[Diagnostic]:
    """Checks that no name is both a variable and a secret, and no token is a variable."""
    env = checkout.settings.env
    for name, value in env.variables.items():
        place = checkout.line_of(f"env.variables.{name}")
        if name in env.secrets:
            yield Diagnostic(place, f"{name} is a variable and a secret", "keep it in one of the two lists")
        if value.startswith("hf_"):
            wrong = f"{name} looks like a token, and everybody sees variables"
            yield Diagnostic(place, wrong, "name it under env.secrets")


def _files(checkout: Checkout) -> Iterator[Diagnostic]:
    """Checks that all files of the Space are small enough, and that none it needs is missing."""
    allow, most_mb = checkout.settings.files.allow, checkout.settings.files.max_mb
    place = checkout.line_of("files.allow")
    for pattern in allow:
        if not checkout.matching((pattern,)):
            wrong = f"files.allow has {pattern!r}, which no file of git's matches"
            yield Diagnostic(place, wrong, "take it out")
    for name in checkout.allowed:
        mb = checkout.bytes_of(name) / 1e6
        if mb > most_mb:
            remedy = f"make it smaller, or raise files.max_mb, {most_mb:g} now"
            yield Diagnostic(name, f"it has {mb:.1f} MB", remedy)
    for name in sorted(checkout.needed - set(checkout.allowed)):
        if name in checkout.tracked:
            yield Diagnostic(name, "the app needs it and files.allow leaves it out", f"allow it at {place}")
        else:
            yield Diagnostic(
                name, "the app needs it and git does not know it", f"write it, and git add {name}"
            )


def _requirements(checkout: Checkout) -> Iterator[Diagnostic]:
    """Checks for lines that are not requirements, which would fail the Hub's build."""
    readable = {place for place, _ in requirements(checkout)}
    for place, wanted in requirement_lines(checkout):
        if place not in readable:
            yield Diagnostic(place, f"{wanted!r} is not a requirement", "mend the line")


def _gradio(checkout: Checkout) -> Iterator[Diagnostic]:
    """Checks that sdk_version and requirements.txt agree, because the Hub installs both."""
    version = checkout.settings.runtime.sdk_version
    for place, requirement in requirements(checkout):
        if requirement.name == "gradio" and not requirement.specifier.contains(version, prereleases=True):
            yield Diagnostic(
                checkout.line_of("runtime.sdk_version"),
                f"runtime.sdk_version is {version} and {place} wants {requirement}",
                "change one of the two",
            )


def _profile(checkout: Checkout) -> Iterator[Diagnostic]:
    """Checks that the profile exists, fits the machine, and can be downloaded and run there."""
    name = profile_of(checkout)
    if name == TINY:
        return
    place = checkout.line_of(f"env.variables.{VARIABLE}")
    try:
        profile = read_profile(profile_source(checkout, name))
    except FileError as error:
        yield from error.diagnostics
        return
    except ProfileError as error:
        wrong, _, remedy = str(error).partition("; ")
        yield Diagnostic(place, wrong, remedy)
        return
    yield from _left_behind(checkout, name, place)
    yield from _fits(checkout, profile)
    yield from _transformers(checkout, profile)
    yield from _offline(checkout, profile)


def _left_behind(checkout: Checkout, name: str, place: str) -> Iterator[Diagnostic]:
    if (checkout.root / name).is_file() and name not in checkout.allowed:
        yield Diagnostic(place, f"{VARIABLE} is {name}, which does not go along", "git add it, and allow it")


def _fits(checkout: Checkout, profile: Profile) -> Iterator[Diagnostic]:
    try:
        chosen_on(checkout)
    except ProfileError as error:
        wrong, _, remedy = str(error).partition("; ")
        hardware = checkout.settings.hardware.request
        yield Diagnostic(checkout.line_of("hardware.request"), f"on {hardware} {wrong}", remedy)


def _transformers(checkout: Checkout, profile: Profile) -> Iterator[Diagnostic]:
    """Checks for transformers, because the Hub installs requirements.txt without extras."""
    there = {requirement.name for _, requirement in requirements(checkout)}
    if profile.flamingo and (checkout.root / REQUIREMENTS).is_file() and "transformers" not in there:
        wrong = f"it lacks transformers, on which the OpenFlamingo of {profile_of(checkout)} stands"
        yield Diagnostic(f"{REQUIREMENTS}:1", wrong, "add transformers>=5.20,<5.25")


def _offline(checkout: Checkout, profile: Profile) -> Iterator[Diagnostic]:
    offline = checkout.settings.env.variables.get("HF_HUB_OFFLINE", "0")
    if offline.lower() in ("", "0", "false", "no", "off"):
        return
    preloaded = {entry.split()[0] for entry in checkout.settings.hub.preload if entry.strip()}
    repos = {f.repo for some in profile.systems.values() for one in some.values() for f in one.files}
    if missing := sorted(repos - preloaded):
        yield Diagnostic(
            checkout.line_of("env.variables.HF_HUB_OFFLINE"),
            f"HF_HUB_OFFLINE keeps {profile_of(checkout)} from downloading {missing[0]} and "
            f"{len(missing) - 1} more",
            "take it out, or name them under hub.preload",
        )


def _zerogpu(checkout: Checkout) -> Iterator[Diagnostic]:
    """Checks Python and torch, of which ZeroGPU has only some versions. The Hub itself installs `spaces`."""
    settings = checkout.settings
    if settings.hardware.request != ZERO:
        return
    if settings.runtime.python not in ZERO_PYTHONS:
        yield Diagnostic(
            checkout.line_of("runtime.python"),
            f"runtime.python is {settings.runtime.python}, which ZeroGPU does not have",
            f"write {ZERO_PYTHONS[0]}",
        )
    for place, requirement in requirements(checkout):
        yield from _zerogpu_torch(place, requirement)
        if requirement.name == "spaces":
            yield Diagnostic(
                place, "it wants spaces, of which ZeroGPU brings the version that it needs", "take it out"
            )


def _zerogpu_torch(place: str, requirement: Requirement) -> Iterator[Diagnostic]:
    if requirement.name == "torch" and not [*requirement.specifier.filter(ZERO_TORCHES)]:
        yield Diagnostic(
            place, f"it wants {requirement}, and ZeroGPU has {', '.join(ZERO_TORCHES)}", "let one of these in"
        )


CHECKS = (
    _drift,
    _hardware,
    _environment,
    _files,
    _requirements,
    _gradio,
    check_lock,
    _profile,
    _zerogpu,
)
