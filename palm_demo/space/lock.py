"""The versions that a Space installs: what requirements.txt asks for, in constraints.txt's versions.

The Hub's build sees requirements.txt alone, so the one that goes there has a version of everything,
including indirect dependencies. torch and torchvision are not in the lock, because their builds differ
by machine: a Space takes what their ranges allow, and ZeroGPU the newest torch of those that it has.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from palm_demo.errors import Diagnostic, SpaceError
from palm_demo.space.checkout import Checkout
from palm_demo.space.machines import ZERO, ZERO_TORCHES

REQUIREMENTS, LOCK = "requirements.txt", "constraints.txt"
UNLOCKED = ("torch", "torchvision")
REMEDY = "run `make lock`"
ASKED_BY = "via "
"""What uv and pip-compile write after a version, before the names of the packages that need it."""

LINUX = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "sys_platform": "linux",
}
LATEST_PATCH = ".99"
"""The patch version that is assumed in comparisons when the Spacefile names a Python by two numbers."""


def requirement_lines(checkout: Checkout) -> Iterator[tuple[str, str]]:
    """Yields place (such as requirements.txt:12) and text of each requirement, without comments and
    options.

    It yields nothing if the file is missing, which another check reports.
    """
    path = checkout.root / REQUIREMENTS
    if not path.is_file():
        return
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        wanted = line.partition("#")[0].strip()
        if wanted and not wanted.startswith("-"):
            yield f"{REQUIREMENTS}:{number}", wanted


def requirements(checkout: Checkout) -> Iterator[tuple[str, Requirement]]:
    """Yields place and requirement of the lines of requirements.txt that can be parsed."""
    for place, wanted in requirement_lines(checkout):
        try:
            yield place, Requirement(wanted)
        except InvalidRequirement:
            continue


@dataclass(frozen=True)
class Pin:
    """A line of the lock.

    Attributes:
        place: such as constraints.txt:12.
        askers: the packages that need it.
    """

    place: str
    name: str
    version: str
    askers: frozenset[str]


def pins(checkout: Checkout) -> dict[str, Pin]:
    """The locked versions for the Space's Python, by name.

    Raises SpaceError if there is no lock, or a line is not one version of a package.
    """
    path = checkout.root / LOCK
    if not path.is_file():
        raise SpaceError(f"there is no {LOCK}, which says what versions were tested; {REMEDY}")
    environment, found = _environment(checkout), {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        wanted, _, comment = line.partition("#")
        if not wanted.strip():
            continue
        place = f"{LOCK}:{number}"
        requirement = _exact(place, wanted.strip())
        if requirement.marker is None or requirement.marker.evaluate(environment):
            name = canonicalize_name(requirement.name)
            askers = comment.strip().removeprefix(ASKED_BY).split(",")
            asked_by = frozenset(canonicalize_name(asker.strip()) for asker in askers)
            (specifier,) = requirement.specifier
            found[name] = Pin(place, name, specifier.version, asked_by)
    return found


def resolved(checkout: Checkout) -> str:
    """The requirements.txt that goes to the Space. Raises SpaceError for anything that `check_lock`
    finds."""
    if found_wrong := list(check_lock(checkout)):
        raise SpaceError(str(found_wrong[0]))
    locked, wanted = pins(checkout), list(_wanted(checkout))
    names = [canonicalize_name(requirement.name) for _, requirement in wanted]
    python = checkout.settings.runtime.python
    lines = [f"# {LOCK}'s versions of what requirements.txt asks for, on Python {python} and Linux."]
    for name, (_, requirement) in zip(names, wanted, strict=True):
        extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
        chosen = _torch(checkout, requirement) if name in UNLOCKED else f"=={locked[name].version}"
        lines.append(f"{requirement.name}{extras}{chosen}")
    lines.append("# What those ask for.")
    brought = sorted(_brought(names, locked) - set(names))
    lines += [f"{name}=={locked[name].version}" for name in brought]
    return "\n".join(lines) + "\n"


def check_lock(checkout: Checkout) -> Iterator[Diagnostic]:
    """Checks that the lock has all that requirements.txt asks for, in its ranges, and the Hub's gradio."""
    try:
        locked = pins(checkout)
    except SpaceError as error:
        wrong, _, remedy = str(error).partition("; ")
        yield Diagnostic(LOCK, wrong, remedy)
        return
    for name in UNLOCKED:
        if name in locked:
            yield Diagnostic(locked[name].place, f"it locks {name}, whose builds differ by machine", REMEDY)
    for place, requirement in _wanted(checkout):
        pin = locked.get(canonicalize_name(requirement.name))
        if requirement.name in UNLOCKED:
            continue
        if pin is None:
            yield Diagnostic(place, f"it wants {requirement}, of which {LOCK} has no version", REMEDY)
        elif not requirement.specifier.contains(pin.version, prereleases=True):
            wrong = f"it wants {requirement} and {pin.place} has {pin.version}"
            yield Diagnostic(place, wrong, f"{REMEDY}, or change the range")
    sdk, gradio = checkout.settings.runtime.sdk_version, locked.get("gradio")
    if gradio is not None and gradio.version != sdk:
        yield Diagnostic(
            checkout.line_of("runtime.sdk_version"),
            f"runtime.sdk_version is {sdk} and {gradio.place} has gradio {gradio.version}",
            f"write {gradio.version}",
        )


def _exact(place: str, wanted: str) -> Requirement:
    try:
        requirement = Requirement(wanted)
    except InvalidRequirement as error:
        raise SpaceError(f"{place} has {wanted!r}, which is not a requirement; {REMEDY}") from error
    if [specifier.operator for specifier in requirement.specifier] != ["=="]:
        raise SpaceError(f"{place} has {wanted!r}, which is not one version; {REMEDY}")
    return requirement


def _wanted(checkout: Checkout) -> Iterator[tuple[str, Requirement]]:
    environment = _environment(checkout)
    for place, requirement in requirements(checkout):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            yield place, requirement


def _environment(checkout: Checkout) -> dict[str, str]:
    """The Space's environment, for markers."""
    python = checkout.settings.runtime.python
    short = ".".join(python.split(".")[:2])
    full = python if python != short else python + LATEST_PATCH
    return {**default_environment(), **LINUX, "python_version": short, "python_full_version": full}


def _torch(checkout: Checkout, requirement: Requirement) -> str:
    """The version range; on ZeroGPU a single version, because another torch would find no GPU there."""
    admitted = [*requirement.specifier.filter(ZERO_TORCHES)]
    if requirement.name == "torch" and checkout.settings.hardware.request == ZERO and admitted:
        return f"=={admitted[-1]}"
    return str(requirement.specifier)


def _brought(names: list[str], locked: dict[str, Pin]) -> set[str]:
    """All locked packages among the names, and those that these need, directly or not."""
    found, ahead = set(), set(names)
    while ahead:
        found |= ahead
        ahead = {pin.name for pin in locked.values() if pin.askers & ahead} - found
    return found & locked.keys()
