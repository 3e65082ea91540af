"""What would go wrong on the Hub is found before, offline, with what to do about it."""

from dataclasses import replace

import pytest

from palm_demo.profiles import choose, read_profile
from palm_demo.settings import SPACEFILE
from palm_demo.space.checking import check
from palm_demo.space.machines import INSTALLED_GB, MACHINES


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
        ("README.md", "license: mit\n", "license: [\n", "its front matter is not YAML of keys and values"),
        (
            "Spacefile",
            "request: cpu-basic",
            "request: gpu",
            "hardware.request is 'gpu'; take one of cpu-basic,",
        ),
        ("Spacefile", "sleep_seconds: 172800", "sleep_seconds: 60", "cpu-basic always sleeps after 48 hours"),
        (
            "Spacefile",
            "secrets: []",
            "secrets: [HF_HUB_DISABLE_TELEMETRY]",
            "HF_HUB_DISABLE_TELEMETRY is a variable and a secret",
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
        (
            "requirements.txt",
            ">=6.31,<7",
            ">=6.31,<6.31.0",
            "requirements.txt:1: it wants gradio<6.31.0,>=6.31 and constraints.txt:2 has 6.31.0; run `make",
        ),
        (
            "requirements.txt",
            "gradio",
            "einops>=0.8\ngradio",
            "requirements.txt:1: it wants einops>=0.8, of which constraints.txt has no version; run `make",
        ),
        (
            "constraints.txt",
            "orjson==3.13.0 ; python_full_version >= '3.11'",
            "orjson>=3.13.0",
            "constraints.txt: constraints.txt:3 has 'orjson>=3.13.0', which is not one version; run `make",
        ),
        ("constraints.txt", "yarl==1.25.1", "yarl=1.25", "which is not a requirement; run `make lock`"),
        (
            "constraints.txt",
            "yarl==1.25.1",
            "torch==2.14.1",
            "constraints.txt:11: it locks torch, whose builds differ by machine; run `make lock`",
        ),
        (
            "constraints.txt",
            "gradio==6.31.0",
            "gradio==6.31.2",
            "runtime.sdk_version is 6.31.0 and constraints.txt:2 has gradio 6.31.2; write 6.31.2",
        ),
        ("requirements.txt", ">=6.31,<7", "=>6.31", ":1: 'gradio=>6.31' is not a requirement"),
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


def test_a_checkout_without_a_lock_is_not_deployed(folder, lines):
    (folder.root / "constraints.txt").unlink()
    lines()
    assert folder.run("deploy") == 1
    assert "there is no constraints.txt, which says what versions were tested; run `make" in lines()[0]


def test_a_module_that_is_no_python_is_named(folder, lines):
    folder.write("package/thing.py", "thing =\n")
    assert folder.run("check") == 1
    assert "thing.py is not Python" in lines()[-1]


def test_a_folder_outside_of_git_is_refused(folder, lines, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(folder.root / "nowhere"))
    lines()
    assert folder.run("check") == 1
    assert "work in a clone of the repository" in lines()[-1]


def test_a_profile_has_to_fit_the_machine_and_find_what_it_stands_on(folder, lines):
    folder.change("Spacefile", "PALM_DEMO_PROFILE: tiny", "PALM_DEMO_PROFILE: hub,flamingo=9b")
    lines()
    assert folder.run("check") == 1
    told = "\n".join(lines())
    assert "on cpu-basic there is too little memory: even PaLM 150m, OpenFlamingo 9B, openMaMMUT" in told
    assert "requirements.txt:1: it lacks transformers, on which the OpenFlamingo of hub,flamingo=9b" in told
    folder.change("Spacefile", "request: cpu-basic", "request: l4x1")
    folder.write("requirements.txt", "gradio>=6.31,<7\ntransformers>=5.23,<6\n")
    assert folder.run("check") == 0
    lines()
    assert folder.run("deploy", "--dry-run", "--repo", "owner/page") == 0
    told = lines()
    assert (
        "weights there: PaLM 150m, OpenFlamingo 9B, openMaMMUT L/14" in told
        and "they are downloaded there: 23.5 GB" in told
    )


def test_a_profile_has_to_fit_the_machines_disk(folder, lines, monkeypatch):
    folder.change("Spacefile", "PALM_DEMO_PROFILE: tiny", "PALM_DEMO_PROFILE: hub")
    folder.change("Spacefile", "request: cpu-basic", "request: cpu-upgrade")
    folder.write("requirements.txt", "gradio>=6.31,<7\ntransformers>=5.23,<6\n")
    lines()
    assert folder.run("check") == 0
    assert folder.run("deploy", "--dry-run", "--repo", "owner/page") == 0
    told = lines()
    assert (
        "weights there: PaLM 2b, OpenFlamingo 9B, openMaMMUT L/14" in told
        and "they are downloaded there: 31.9 GB" in told
    )
    smaller = replace(MACHINES["cpu-upgrade"], disk_gb=22)
    monkeypatch.setitem(MACHINES, "cpu-upgrade", smaller)
    assert folder.run("check") == 1
    told = lines()
    assert "on cpu-upgrade there is too little disk: even PaLM 150m, OpenFlamingo 4B, openMaMMUT" in told[0]


def test_what_a_t4_emulates_is_told_before_it_is_paid_for(folder, lines):
    folder.change("Spacefile", "PALM_DEMO_PROFILE: tiny", "PALM_DEMO_PROFILE: hub")
    folder.change("Spacefile", "request: cpu-basic", "request: t4-small")
    folder.write("requirements.txt", "gradio>=6.31,<7\ntransformers>=5.23,<6\n")
    slow = "slow there: OpenFlamingo 4B, in bfloat16, which t4-small emulates; l4x1 computes in it"
    for machine, told in (("t4-small", [slow]), ("l4x1", [])):
        folder.change("Spacefile", "request: t4-small", f"request: {machine}")
        lines()
        assert folder.run("deploy", "--dry-run", "--repo", "owner/page") == 0
        assert [line for line in lines() if line.startswith("slow")] == told


def test_the_small_profile_fits_the_free_machine_and_needs_no_transformers(folder, lines):
    folder.change("Spacefile", "PALM_DEMO_PROFILE: tiny", "PALM_DEMO_PROFILE: small")
    lines()
    assert folder.run("check") == 0
    assert folder.run("deploy", "--dry-run", "--repo", "owner/page") == 0
    told = lines()
    assert {"weights there: PaLM 150m, CoCa B/32", "they are downloaded there: 1.8 GB"} <= set(told)


@pytest.mark.parametrize("name", MACHINES)
def test_what_the_hub_profile_takes_fits_each_machine(name):
    machine = MACHINES[name]
    chosen = choose(read_profile("hub"), machine.free, machine.free_disk, bfloat16=machine.bfloat16)
    for device, free in machine.free.items():
        on_it = [c for system, c in chosen.choices.items() if chosen.devices[system] == device]
        assert sum(choice.memory_on(device) for choice in on_it) * 1e9 <= free
    assert machine.disk_gb is None or chosen.disk_gb <= machine.disk_gb - INSTALLED_GB
    assert all("t4" in name or choice.dtype == "bfloat16" for choice in chosen.choices.values())


def test_a_profile_that_is_none_or_has_mistakes_is_told(folder, lines):
    folder.change("Spacefile", "PALM_DEMO_PROFILE: tiny", "PALM_DEMO_PROFILE: mine.yaml")
    lines()
    assert folder.run("check") == 1
    assert "there is no profile 'mine.yaml'; take tiny, hub, small, or the path of a YAML file" in lines()[0]
    folder.write("mine.yaml", "version: 1\npalm: {}\n")
    assert folder.run("check") == 1
    assert "mine.yaml:2: palm has no choices; name one" in lines()[0]
    hub = (SPACEFILE.parent / "palm_demo/profiles/hub.yaml").read_text(encoding="utf-8")
    folder.write("mine.yaml", hub[: hub.index("flamingo:")])
    assert folder.run("check") == 1
    assert "PALM_DEMO_PROFILE is mine.yaml, which does not go along; git add it, and allow it" in lines()[0]
    folder.change("Spacefile", "    - app.py\n", "    - app.py\n    - mine.yaml\n")
    assert folder.run("check") == 0


def test_a_profile_cannot_be_downloaded_offline_unless_it_was_before(folder, lines):
    kept_offline = 'PALM_DEMO_PROFILE: hub,palm=1b\n    HF_HUB_OFFLINE: "1"\n    X: tiny'
    folder.change("Spacefile", "PALM_DEMO_PROFILE: tiny", kept_offline)
    folder.write("requirements.txt", "gradio>=6.31,<7\ntransformers>=5.23,<6\n")
    folder.change("Spacefile", "request: cpu-basic", "request: a100-large")
    lines()
    assert folder.run("check") == 1
    assert "HF_HUB_OFFLINE keeps hub,palm=1b from downloading EleutherAI/gpt-neox-20b and" in lines()[0]
    folder.write("mine.yaml", palm_alone())
    folder.change("Spacefile", "hub,palm=1b", "mine.yaml")
    folder.change("Spacefile", "    - app.py\n", "    - app.py\n    - mine.yaml\n")
    preloaded = "preload: [conceptofmind/palm-1b palm_1b_8k_v0.pt, EleutherAI/gpt-neox-20b tokenizer.json]"
    folder.change("Spacefile", "preload: []", preloaded)
    assert folder.run("render") == 0 and folder.run("check") == 0


@pytest.fixture
def on_zerogpu(folder, lines):
    folder.change("Spacefile", "request: cpu-basic", "request: zero-a10g")
    lines()
    return folder


def test_zerogpu_is_hardware_to_ask_for(on_zerogpu, lines):
    on_zerogpu.write("requirements.txt", "gradio>=6.31,<7\ntorch>=2.8\n")
    assert on_zerogpu.run("check") == 0
    on_zerogpu.change("Spacefile", "PALM_DEMO_PROFILE: tiny", "PALM_DEMO_PROFILE: hub")
    on_zerogpu.write("requirements.txt", "gradio>=6.31,<7\ntransformers>=5.23,<6\n")
    lines()
    assert on_zerogpu.run("deploy", "--dry-run", "--repo", "owner/page") == 0
    told = lines()
    assert (
        "weights there: PaLM 2b, OpenFlamingo 9B, openMaMMUT L/14" in told
        and "they are downloaded there: 31.9 GB" in told
    )


@pytest.mark.parametrize(
    ("name", "old", "new", "found"),
    [
        ("Spacefile", "sleep_seconds: 172800", "sleep_seconds: 60", "zero-a10g always sleeps after 48 hours"),
        ("Spacefile", 'python: "3.12"', 'python: "3.11"', "3.11, which ZeroGPU does not have; write 3.12"),
        (
            "requirements.txt",
            "gradio",
            "torch==2.7.1\ngradio",
            "requirements.txt:1: it wants torch==2.7.1, and",
        ),
        ("requirements.txt", "gradio", "torch>=2.12\ngradio", "2.11.0; let one of these in"),
        ("requirements.txt", "gradio", "spaces==0.30\ngradio", "the version that it needs; take it out"),
    ],
)
def test_what_zerogpu_does_not_have_is_told(on_zerogpu, lines, name, old, new, found):
    on_zerogpu.change(name, old, new)
    assert on_zerogpu.run("render") == 0
    lines()
    assert on_zerogpu.run("check") == 1
    assert any(found in line for line in lines())


def palm_alone() -> str:
    hub = (SPACEFILE.parent / "palm_demo/profiles/hub.yaml").read_text(encoding="utf-8")
    one = hub[hub.index("  1b:") : hub.index("  150m:")].replace("*c4", "the web").replace("*writes", "text")
    tokenizer = "{repo: EleutherAI/gpt-neox-20b, file: tokenizer.json}"
    return f"version: 1\npalm:\n{one.replace('*neox', tokenizer)}"
