"""What would go wrong on the Hub is found before, offline, with what to do about it."""

import pytest

from palm_demo.settings import SPACEFILE
from palm_demo.space.checking import check


def test_this_repository_has_nothing_to_mend():
    assert [str(finding) for finding in check(SPACEFILE.parent)] == []


def test_a_small_checkout_has_nothing_to_mend(folder, lines):
    lines()
    assert folder.run("check") == 0
    assert lines() == ["nothing to mend"]


@pytest.mark.parametrize(
    ("name", "old", "new", "found"),
    [
        (
            "README.md",
            "suggested_hardware: cpu-basic",
            "suggested_hardware: t4-small",
            "README.md:1: its front matter has suggested_hardware 't4-small', the Spacefile 'cpu-basic'; "
            "run python -m palm_demo.space render",
        ),
        (
            "README.md",
            "license: mit\n",
            "license: mit\npinned: true\n",
            "has pinned True, the Spacefile None",
        ),
        ("README.md", "license: mit\n", "license: 'mit'\n", "its front matter is written in another way"),
        ("README.md", "---\ntitle", "title", "README.md:1: it has no front matter; run python"),
        ("README.md", "license: mit\n", "license: [\n", "its front matter is no YAML of keys and values"),
        (
            "Spacefile",
            "request: cpu-basic",
            "request: gpu",
            "hardware.request is 'gpu'; take one of cpu-basic,",
        ),
        ("Spacefile", "request: cpu-basic", "request: zero-a10g", "and none here does; take other hardware"),
        ("Spacefile", "sleep_seconds: 172800", "sleep_seconds: 60", "cpu-basic always sleeps after 48 hours"),
        (
            "Spacefile",
            "secrets: []",
            "secrets: [HF_HUB_OFFLINE]",
            "HF_HUB_OFFLINE is a variable and a secret",
        ),
        ("Spacefile", 'TELEMETRY: "1"', "TELEMETRY: hf_abc", "HF_HUB_DISABLE_TELEMETRY looks like a token"),
        (
            "Spacefile",
            "- package/**",
            "- package/*.py",
            "package/things.txt: the app needs it and files.allow",
        ),
        ("Spacefile", "- package/**", "- package/__init__.py", "package/thing.py: the app needs it"),
        ("Spacefile", "- app.py", "- main.py", "files.allow has 'main.py', which no file of git's matches"),
        (
            "Spacefile",
            "max_mb: 25",
            "max_mb: 0.0002",
            "assets/weights.bin: it has 0.0 MB; make it smaller, or",
        ),
        (
            "requirements.txt",
            ">=6.31,<7",
            ">=6.32,<7",
            "sdk_version is 6.31.0 and requirements.txt:1 wants gra",
        ),
        ("requirements.txt", ">=6.31,<7", "=>6.31", "requirements.txt:1: 'gradio=>6.31' is no requirement"),
        ("Spacefile", "license:", "licence:", "space.licence is unknown; did you mean license?"),
    ],
)
def test_what_is_wrong_is_told_with_its_remedy(folder, lines, name, old, new, found):
    folder.change(name, old, new)
    lines()
    assert folder.run("check") == 1
    told = lines()
    assert any(found in line for line in told)
    assert told[-1] == f"{len(told) - 1} to mend"


def test_a_place_in_the_spacefile_is_a_line(folder):
    folder.change("Spacefile", "request: cpu-basic", "request: gpu")
    (finding,) = check(folder.root)
    number = int(finding.place.removeprefix("Spacefile:"))
    lines = (folder.root / "Spacefile").read_text(encoding="utf-8").splitlines()
    assert lines[number - 1] == "  request: gpu"


def test_a_file_that_git_does_not_know_is_missed(folder, lines):
    (folder.root / "requirements.txt").unlink()
    lines()
    assert folder.run("check") == 1
    assert "requirements.txt: the app needs it and git does not know it; write it, and git add" in lines()[1]


def test_a_module_that_is_no_python_is_named(folder, lines):
    folder.write("package/thing.py", "thing =\n")
    assert folder.run("check") == 1
    assert "thing.py is no Python" in lines()[-1]


def test_a_folder_outside_of_git_is_refused(folder, lines, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(folder.root / "nowhere"))
    lines()
    assert folder.run("check") == 1
    assert "work in a clone of the repository" in lines()[-1]
