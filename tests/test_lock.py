"""The lock has one version of everything, within the ranges, for each Python and system that it is for, and
the workflows try it there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10.13", "3.11.7", "3.12.12", "3.13.0")
SYSTEMS = {"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}
UNLOCKED = {"torch", "torchvision"}
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
INSIDES = ("torch", "transformers", "gradio", "lancedb", "open-clip-torch", "spaces", "huggingface-hub")
"""Libraries of which we use more than they document."""


def read(text: str) -> list[Requirement]:
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [Requirement(line) for line in lines if line]


def wanted() -> list[Requirement]:
    """What requirements.txt and all extras ask for, but for extras of our own."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    _, _, extras = project.partition("[project.optional-dependencies]")
    of_extras = re.findall(r'^    "([^"]+)"', extras.partition("\n[")[0], re.M)
    both = read((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    both += [Requirement(quoted) for quoted in of_extras]
    return [one for one in both if one.name != "palm-demo"]


LOCK = read((ROOT / "constraints.txt").read_text(encoding="utf-8"))


def machines() -> Iterator[dict[str, str]]:
    for python in PYTHONS:
        for system, platform in SYSTEMS.items():
            yield {
                "python_full_version": python,
                "python_version": ".".join(python.split(".")[:2]),
                "sys_platform": system,
                "platform_system": platform,
                "platform_machine": "x86_64",
                "os_name": "nt" if system == "win32" else "posix",
                "implementation_name": "cpython",
                "platform_python_implementation": "CPython",
            }


def named(machine: dict[str, str]) -> str:
    return f"{machine['python_version']}-{machine['sys_platform']}"


@pytest.mark.parametrize("machine", list(machines()), ids=named)
def test_there_is_one_version_of_all_that_is_asked_for(machine):
    holding = [one for one in LOCK if one.marker is None or one.marker.evaluate(machine)]
    names = [canonicalize_name(one.name) for one in holding]
    assert sorted(names) == sorted(set(names))
    locked = {name: one.specifier for name, one in zip(names, holding, strict=True)}
    for one in wanted():
        if one.name not in UNLOCKED and (one.marker is None or one.marker.evaluate(machine)):
            (exact,) = locked[canonicalize_name(one.name)]
            assert exact.operator == "==" and one.specifier.contains(exact.version), f"{one} and {exact}"


def test_what_comes_with_a_build_of_torch_is_not_locked():
    builds = re.compile("(torch|torchvision|triton)$|nvidia-|cuda-")
    assert not [one.name for one in LOCK if builds.match(one.name)]


@pytest.mark.parametrize("library", INSIDES)
def test_a_range_ends_at_the_last_version_tried_where_insides_are_used(library):
    ranges = [one.specifier for one in wanted() if one.name == library and one.specifier]
    tried = [next(iter(one.specifier)).version for one in LOCK if one.name == library]
    newest = Version(max(tried, key=Version) if tried else "2.14")
    assert ranges and all(one.contains(newest) for one in ranges)
    assert not any(one.contains(f"{newest.major}.{newest.minor + 1}.0") for one in ranges)


def test_texts_ask_for_transformers_as_the_extra_does():
    (asked,) = (one.specifier for one in wanted() if one.name == "transformers")
    for name in ("docs/space.md", "palm_demo/space/checking.py"):
        told = re.findall(r"transformers([<>=][\d.<>=,]*\d)", (ROOT / name).read_text(encoding="utf-8"))
        assert told and {SpecifierSet(one) for one in told} == {asked}


def workflow(name: str) -> dict:
    """By its file; `on` is YAML 1.1's word for true."""
    found = yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in found.items()}


def test_all_tests_run_on_pull_requests_on_each_python():
    told = workflow("tests.yml")
    assert "pull_request" in told["on"]
    (job,) = told["jobs"].values()
    assert job["strategy"]["matrix"]["python"] == [python.rpartition(".")[0] for python in PYTHONS]
    assert job["steps"][-1]["run"] == "make test"


def test_both_ends_of_the_ranges_run_weekly_on_each_python():
    told = workflow("newest.yml")
    ((minute, hour, day, month, weekday),) = (one["cron"].split() for one in told["on"]["schedule"])
    assert day == month == "*" and minute.isdigit() and hour.isdigit() and weekday.isdigit()
    ends = told["jobs"]["ends"]
    assert ends["strategy"]["matrix"]["python"] == [python.rpartition(".")[0] for python in PYTHONS]
    assert ends["strategy"]["matrix"]["end"] == ["newest", "oldest"]
    assert ends["steps"][-1]["run"] == "make ${{ matrix.end }}"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_whatever_a_workflow_makes_is_in_the_makefile(path):
    targets = set(
        re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)[1].split()
    )
    jobs = workflow(path.name)["jobs"].values()
    made = [
        word
        for job in jobs
        for step in job["steps"]
        for word in re.findall(r"make (\w+)", step.get("run", ""))
    ]
    made += [end for job in jobs for end in job.get("strategy", {}).get("matrix", {}).get("end", ())]
    assert made and set(made) <= targets
