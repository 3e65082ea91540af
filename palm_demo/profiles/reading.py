"""Reads a profile by its name or its file, and checks all of it."""

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from palm_demo.errors import ProfileError
from palm_demo.profiles.description import Profile
from palm_demo.yaml_files import read_yaml

FOLDER = Path(__file__).parent
TINY = "tiny"
"""The name of the bundled weights, which have no profile file."""


def profile_names() -> list[str]:
    """The names of profiles that `palm_demo.load` knows."""
    return [TINY, *sorted(path.stem for path in FOLDER.glob("*.yaml"))]


def own_name(profile: str | Path) -> str:
    """A short name of letters, digits, - and _ for what belongs to a profile's embeddings: its gallery.

    A picked MaMMUT makes other embeddings, and is in the name; the other models' picks are not.
    """
    name, picks = _split_picks(profile)
    named = [Path(name).stem, *(pick for pick in picks if pick.startswith("mammut="))]
    return re.sub(r"[^\w-]+", "-", "-".join(named), flags=re.ASCII) or "profile"


def profile_file(profile: str | Path) -> Path:
    """The YAML file of a profile. Raises ProfileError where there is none."""
    name, _ = _split_picks(profile)
    for path in (FOLDER / f"{name}.yaml", Path(name)):
        if os.path.isfile(path):  # `Path.is_file` would raise where a name is too long
            return path
    if name == TINY:
        raise ProfileError(
            f"{profile!r} asks for choices of the bundled weights; these have none, give {TINY!r}"
        )
    raise ProfileError(
        f"there is no profile {name!r}; take {', '.join(profile_names())}, or the path of a YAML file"
    )


def read_profile(profile: str | Path) -> Profile:
    """Reads a profile by its name ("hub") or its YAML file.

    Choices to take may follow after commas: "hub,mammut=coca,palm=1b". Raises ProfileError if there is
    no such profile or choice, and FileError with every mistake in the file.
    """
    path, (_, picks) = profile_file(profile), _split_picks(profile)
    return _picked(read_yaml(path, Profile), picks, path.name)


def _split_picks(profile: str | Path) -> tuple[str, list[str]]:
    if isinstance(profile, Path) or os.path.isfile(profile):
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
