"""What is wrong with a Space before it is deployed, found offline. One function per kind of mistake."""

from collections.abc import Iterator
from pathlib import Path

import yaml
from huggingface_hub import SpaceHardware

from palm_demo.errors import FileError
from palm_demo.internals.hub_client import front_matter
from palm_demo.space.card import card_data, read_exactly, with_front_matter
from palm_demo.space.checkout import Checkout
from palm_demo.space.lock import lock_findings
from palm_demo.space.profiles import profile_findings
from palm_demo.space.requirements import lines, required
from palm_demo.space.zerogpu import ZERO, zerogpu_findings
from palm_demo.typed_yaml import Finding

FREE = "cpu-basic"
FIXED_SLEEP, FIXED_SLEEP_SECONDS = (FREE, ZERO), 48 * 3600
"""Machines whose sleep nobody can change."""
RENDER = "run python -m palm_demo.space render"


def check(root: Path) -> list[Finding]:
    """All findings about the checkout in a folder. Raises SpaceError where git knows no files."""
    checkout = Checkout(root)
    try:
        _ = checkout.settings
    except FileError as error:
        return list(error.findings)
    return [finding for one in CHECKS for finding in one(checkout)]


def _drift(checkout: Checkout) -> Iterator[Finding]:
    """The README's front matter is what `render` writes."""
    path, settings = checkout.root / "README.md", checkout.settings
    if not path.is_file():
        return  # it is needed, and so found by _files
    text = read_exactly(path)
    if text == with_front_matter(text, settings):
        return
    block, wanted = front_matter(text), card_data(settings).to_dict()
    if block is None:
        yield Finding("README.md:1", "it has no front matter", RENDER)
        return
    try:
        said = yaml.safe_load(block.group(2))
    except yaml.YAMLError:
        said = None
    if not isinstance(said, dict):
        yield Finding("README.md:1", "its front matter is no YAML of keys and values", RENDER)
        return
    differing = [key for key in {**wanted, **said} if said.get(key) != wanted.get(key)]
    for key in differing:
        wrong = f"its front matter has {key} {said.get(key)!r}, the Spacefile {wanted.get(key)!r}"
        yield Finding("README.md:1", wrong, RENDER)
    if not differing:
        yield Finding("README.md:1", "its front matter is written in another way", RENDER)


def _hardware(checkout: Checkout) -> Iterator[Finding]:
    """Machines that the Hub has, and a sleep time that it keeps."""
    names, hardware = [one.value for one in SpaceHardware], checkout.settings.hardware
    for key in ("suggested", "request"):
        name = getattr(hardware, key)
        if name not in names:
            remedy = f"take one of {', '.join(names)}"
            yield Finding(checkout.line_of(f"hardware.{key}"), f"hardware.{key} is {name!r}", remedy)
    machine, seconds = hardware.request, hardware.sleep_seconds
    if machine in FIXED_SLEEP and seconds != FIXED_SLEEP_SECONDS:
        yield Finding(
            checkout.line_of("hardware.sleep_seconds"),
            f"hardware.sleep_seconds is {seconds}, and {machine} always sleeps after 48 hours",
            f"write {FIXED_SLEEP_SECONDS}, or request other hardware",
        )


def _environment(checkout: Checkout) -> Iterator[Finding]:
    """No name is both a variable and a secret, and no token is a variable."""
    env = checkout.settings.env
    for name, value in env.variables.items():
        place = checkout.line_of(f"env.variables.{name}")
        if name in env.secrets:
            yield Finding(place, f"{name} is a variable and a secret", "keep it in one of the two lists")
        if value.startswith("hf_"):
            wrong = f"{name} looks like a token, and everybody sees variables"
            yield Finding(place, wrong, "name it under env.secrets")


def _files(checkout: Checkout) -> Iterator[Finding]:
    """Everything that goes to the Space fits, and nothing that it needs stays behind."""
    allow, most_mb = checkout.settings.files.allow, checkout.settings.files.max_mb
    place = checkout.line_of("files.allow")
    for pattern in allow:
        if not checkout.matching((pattern,)):
            wrong = f"files.allow has {pattern!r}, which no file of git's matches"
            yield Finding(place, wrong, "take it out")
    for name in checkout.allowed:
        mb = checkout.bytes_of(name) / 1e6
        if mb > most_mb:
            remedy = f"make it smaller, or raise files.max_mb, {most_mb:g} now"
            yield Finding(name, f"it has {mb:.1f} MB", remedy)
    for name in sorted(checkout.needed - set(checkout.allowed)):
        if name in checkout.tracked:
            yield Finding(name, "the app needs it and files.allow leaves it out", f"allow it at {place}")
        else:
            yield Finding(name, "the app needs it and git does not know it", f"write it, and git add {name}")


def _requirements(checkout: Checkout) -> Iterator[Finding]:
    """What is no requirement would end the Hub's build."""
    readable = {place for place, _ in required(checkout)}
    for place, wanted in lines(checkout):
        if place not in readable:
            yield Finding(place, f"{wanted!r} is no requirement", "mend the line")


def _gradio(checkout: Checkout) -> Iterator[Finding]:
    """The Hub installs sdk_version beside requirements.txt: both have to agree."""
    version = checkout.settings.runtime.sdk_version
    for place, requirement in required(checkout):
        if requirement.name == "gradio" and not requirement.specifier.contains(version, prereleases=True):
            yield Finding(
                checkout.line_of("runtime.sdk_version"),
                f"runtime.sdk_version is {version} and {place} wants {requirement}",
                "change one of the two",
            )


CHECKS = (
    _drift,
    _hardware,
    _environment,
    _files,
    _requirements,
    _gradio,
    lock_findings,
    profile_findings,
    zerogpu_findings,
)
