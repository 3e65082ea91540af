"""A profile by its name or its file, checked as a whole."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from palm_demo.errors import FileError, ProfileError
from palm_demo.profiles.description import Profile
from palm_demo.typed_yaml import Finding, lines_of, read_typed

FOLDER = Path(__file__).parent
TINY = "tiny"
"""The bundled weights, which need no profile's file."""


def profile_names() -> list[str]:
    """What `palm_demo.load` takes beside the path of a file."""
    return [TINY, *sorted(path.stem for path in FOLDER.glob("*.yaml"))]


def own_name(profile: str | Path) -> str:
    """A short one, of letters, digits, - and _: for what belongs to one profile, such as its gallery."""
    name, _ = _parted(profile)
    return re.sub(r"[^\w-]+", "-", Path(name).stem, flags=re.ASCII) or "profile"


def profile_file(profile: str | Path) -> Path:
    """The YAML file of a profile. Raises ProfileError where there is none."""
    name, _ = _parted(profile)
    for path in (FOLDER / f"{name}.yaml", Path(name)):
        if path.is_file():
            return path
    raise ProfileError(
        f"there is no profile {name!r}; take {', '.join(profile_names())}, or the path of a YAML file"
    )


def read_profile(profile: str | Path) -> Profile:
    """The profile of a name ("hub") or of a YAML file; after it may stand, with commas, what to take of
    its choices: "hub,mammut=coca,palm=1b".

    Raises ProfileError where there is no such profile or choice, FileError with every mistake in its file.
    """
    path, (_, picks) = profile_file(profile), _parted(profile)
    read = read_typed(path, Profile)
    if findings := list(_contradictions(read, path)):
        raise FileError(path.name, findings)
    return _picked(read, picks, path.name)


def _parted(profile: str | Path) -> tuple[str, list[str]]:
    if isinstance(profile, Path) or Path(profile).is_file():
        return str(profile), []
    name, *picks = profile.split(",")
    return name.strip(), [pick.strip() for pick in picks]


def _picked(profile: Profile, picks: list[str], file: str) -> Profile:
    for pick in picks:
        system, _, name = pick.partition("=")
        choices: Mapping = profile.systems.get(system, {})
        if name not in choices:
            known = [f"{one}={choice}" for one, some in profile.systems.items() for choice in some]
            raise ProfileError(f"{file} has no choice {pick!r}; it has {', '.join(known)}")
        profile = replace(profile, **{system: {name: choices[name]}})
    return profile


def _contradictions(profile: Profile, path: Path) -> Iterator[Finding]:
    """What no field is wrong by itself."""
    lines = lines_of(path)

    def place(key: str) -> str:
        return f"{path.name}:{lines.get(key, 1)}"

    if not profile.systems:
        yield Finding(place(""), "it names no system", "name palm, flamingo or mammut")
    for system, choices in profile.systems.items():
        if not choices:
            yield Finding(place(system), f"{system} has no choices", "name one, or leave the section out")
    for name, choice in (profile.mammut or {}).items():
        key = f"mammut.{name}"
        if choice.layout == "coca" and choice.pool_heads is None:
            yield Finding(place(key), f"{key}.pool_heads is missing", "name it: CoCa pools with attention")
        if choice.layout != "coca" and choice.pool_heads is not None:
            wrong = f"{key}.pool_heads is {choice.pool_heads}"
            yield Finding(place(f"{key}.pool_heads"), wrong, "leave it out: only CoCa has them")
