"""A Space is made, brought up to date and waited for, on a Hub of the tests' own."""

import hashlib
import os
import subprocess
import sys

import huggingface_hub
import pytest

from palm_demo.settings import SPACEFILE
from palm_demo.space import deploying
from palm_demo.space.checkout import Checkout
from tests.hub import OWNER, TOKEN, Refused

pytestmark = pytest.mark.slow  # half a minute in all
REPO = f"{OWNER}/palm-demo"
API = f"/api/spaces/{REPO}"


def stages(told: list[str]) -> list[str]:
    return [line.partition(" after ")[0] for line in told if " after " in line]


def test_a_first_deployment_makes_the_space_and_a_second_changes_nothing(folder, hub, lines):
    assert folder.run("deploy") == 0
    space = hub.spaces[REPO]
    assert space.hardware == "cpu-basic" and space.variables["GRADIO_ANALYTICS_ENABLED"] == "False"
    allowed = Checkout(folder.root).allowed
    assert sorted(space.files) == sorted([".gitattributes", *allowed])
    assert "tests/test_app.py" not in space.files and "package/things.txt" in space.files
    for name in set(allowed) - {"requirements.txt"}:
        assert space.files[name].content == (folder.root / name).read_bytes()
    assert space.files["assets/weights.bin"].lfs and not space.files["app.py"].lfs
    told = lines()
    assert stages(told) == ["BUILDING", "APP_STARTING", "RUNNING"]
    assert f"it runs: {hub.url}/spaces/{REPO}" in told

    commits, changes = list(space.commits), hub.changes
    assert f"POST {API}/commit/main" in changes
    assert folder.run("deploy") == 0
    assert space.commits == commits and hub.changes == changes
    assert "files are as they were" in lines()


def test_only_what_has_changed_is_sent(folder, hub):
    assert folder.run("deploy") == 0
    space, stored = hub.spaces[REPO], len(hub.asked("PUT", ""))
    folder.write("app.py", "from package import thing  # again\n")
    (folder.root / "package" / "things.txt").unlink()
    folder.change("Spacefile", 'TELEMETRY: "1"', 'TELEMETRY: "0"')
    hub.requests.clear()
    assert folder.run("deploy") == 0
    assert hub.changes == [f"POST {API}/variables", f"POST {API}/commit/main"]
    sent = hub.asked("POST", "/commit/main")[0].body.decode()
    assert all(name in sent for name in ("app.py", "Spacefile", "deletedFile", "package/things.txt"))
    assert "weights.bin" not in sent and "package/thing.py" not in sent and stored == 1
    assert "package/things.txt" not in space.files and ".gitattributes" in space.files
    assert space.variables["HF_HUB_DISABLE_TELEMETRY"] == "0"


def test_what_the_owner_set_by_hand_stays(folder, hub, lines):
    assert folder.run("deploy") == 0
    hub.spaces[REPO].variables["MINE"] = "1"
    hub.spaces[REPO].files["notes.md"] = hub.spaces[REPO].files["app.py"]
    assert folder.run("deploy") == 0
    assert hub.spaces[REPO].variables["MINE"] == "1" and "notes.md" in hub.spaces[REPO].files
    assert "variable MINE is the Space's own and stays as it is" in lines()


def test_the_pipeline_of_the_client_that_knows_xet_makes_no_empty_commit_either(folder, hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", False)
    folder.write("assets/weights.bin", "of letters, so that it goes within the commit\n")
    assert folder.run("deploy") == 0
    commits = list(hub.spaces[REPO].commits)
    assert "app.py" in hub.spaces[REPO].files
    assert folder.run("deploy") == 0
    assert hub.spaces[REPO].commits == commits


def test_hardware_and_sleep_are_asked_for_once(folder, hub):
    folder.change("Spacefile", "request: cpu-basic", "request: t4-small")
    folder.change("Spacefile", "sleep_seconds: 172800", "sleep_seconds: 3600")
    assert folder.run("deploy") == 0
    space = hub.spaces[REPO]
    assert (space.hardware, space.sleep_seconds) == ("t4-small", 3600)
    assert hub.asked("POST", "/repos/create")[0].json["hardware"] == "t4-small"
    folder.change("Spacefile", "request: t4-small", "request: l4x1")
    hub.requests.clear()
    assert folder.run("deploy", "--repo", REPO) == 0
    assert hub.changes == [f"POST {API}/hardware", f"POST {API}/commit/main"]
    hub.requests.clear()
    assert folder.run("deploy") == 0
    assert hub.changes == []


def test_zerogpu_is_asked_for_and_its_sleep_left_alone(folder, hub):
    folder.change("Spacefile", "request: cpu-basic", "request: zero-a10g")
    assert folder.run("deploy") == 0
    space = hub.spaces[REPO]
    assert (space.hardware, space.sleep_seconds) == ("zero-a10g", None)


def test_secrets_come_from_the_environment_and_are_never_told(folder, hub, lines, monkeypatch):
    folder.change("Spacefile", "secrets: []", "secrets: [BUCKET_KEY]")
    assert folder.run("deploy") == 1
    assert "names the secret BUCKET_KEY, which the environment does not have" in lines()[-1]
    assert hub.requests == []
    monkeypatch.setenv("BUCKET_KEY", "of-the-bucket")
    assert folder.run("deploy") == 0
    assert hub.spaces[REPO].secrets == {"BUCKET_KEY": "of-the-bucket"}
    monkeypatch.setenv("BUCKET_KEY", "another")
    assert folder.run("deploy") == 0
    assert hub.spaces[REPO].secrets == {"BUCKET_KEY": "of-the-bucket"}
    assert folder.run("deploy", "--renew-secrets") == 0
    assert hub.spaces[REPO].secrets == {"BUCKET_KEY": "another"}
    told = "\n".join(lines())
    assert "secret BUCKET_KEY" in told
    assert not any(value in told for value in ("of-the-bucket", "another", TOKEN))


def test_a_dry_run_says_it_all_and_asks_nobody(folder, hub, lines, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    (folder.root / "package" / "new.py").write_text("", encoding="utf-8")
    lines()
    assert folder.run("deploy", "--dry-run") == 0
    told = lines()
    assert hub.requests == []
    assert told[1] == "Space OWNER/palm-demo: gradio 6.31.0, python 3.12"
    assert "hardware cpu-basic, asleep after 48 hours" in told
    assert "variable GRADIO_ANALYTICS_ENABLED=False" in told
    assert "upload package/: 3 files, 0.00 MB" in told
    assert "requirements.txt there: 3 versions of constraints.txt, and no torch" in told
    assert told[-1] == "left out: package/new.py, of which git knows nothing"


def test_what_the_check_finds_keeps_it_from_being_deployed(folder, hub, lines):
    folder.change("README.md", "cpu-basic", "t4-small")
    assert folder.run("deploy") == 1
    assert hub.requests == []
    assert lines()[-1] == "1 to mend"


@pytest.mark.parametrize(
    ("stage", "kind"),
    [("BUILD_ERROR", "build"), ("RUNTIME_ERROR", "run"), ("CONFIG_ERROR", None), ("PAUSED", None)],
)
def test_a_space_that_does_not_run_ends_with_its_log(folder, hub, lines, stage, kind):
    hub.stages = ("BUILDING", stage)
    hub.logs["build"] = [f"build line {number}" for number in range(100)]
    hub.logs["run"] = ["run line"]
    assert folder.run("deploy") == 1
    told = lines()
    assert any(line.startswith(f"error: {REPO} ended in {stage}; ") for line in told)
    if kind == "build":
        assert told[-deploying.TAIL_LINES :] == hub.logs["build"][-deploying.TAIL_LINES :]
        assert "build line 59" not in told
    elif kind == "run":
        assert told[-1] == "run line"


def test_an_error_from_before_does_not_count_until_the_hub_has_had_its_time(folder, hub, lines, monkeypatch):
    hub.stages = ("BUILD_ERROR", "BUILD_ERROR", "BUILDING", "RUNNING")
    assert folder.run("deploy") == 0
    hub.stages = ("BUILD_ERROR",)
    folder.write("app.py", "import nothing\n")
    monkeypatch.setattr(deploying, "SETTLE_SECONDS", 0.0)
    assert folder.run("deploy") == 1
    assert "ended in BUILD_ERROR" in "\n".join(lines())


def test_a_running_space_counts_only_with_the_new_commit(folder, hub, lines):
    assert folder.run("deploy") == 0
    hub.stages = ("RUNNING", "RUNNING_BUILDING", "RUNNING")
    folder.write("app.py", "import package\n")
    lines()
    assert folder.run("deploy") == 0
    assert stages(lines()) == ["RUNNING", "RUNNING_BUILDING", "RUNNING"]
    assert hub.spaces[REPO].running == hub.spaces[REPO].commits[-1]


def test_a_space_that_fell_asleep_is_ready_for_its_next_visitor(folder, hub):
    hub.stages = ("BUILDING", "SLEEPING")
    assert folder.run("deploy") == 0


def test_patience_has_an_end(folder, hub, lines, monkeypatch):
    hub.stages = ("BUILDING",)
    monkeypatch.setattr("palm_demo.space.__main__.BUILD_SECONDS", -1800)  # the start's own are 1,800
    assert folder.run("deploy") == 1
    assert "is BUILDING after 0 minutes; look at its page, or go on waiting" in lines()[-1]


@pytest.mark.parametrize(
    ("asked", "refused", "told"),
    [
        (("POST", "/api/repos/create"), Refused(402, "PRO is needed"), "402 about owner/palm-demo: PRO is"),
        (("POST", "/api/repos/create"), Refused(403, "no"), "403 about owner/palm-demo: no; use a token of"),
        (("GET", f"{API}/runtime"), Refused(404, "gone", "RepoNotFound"), "404 about owner/palm-demo: gone;"),
        (("POST", f"{API}/commit/main"), Refused(400, "oh"), "400 about owner/palm-demo: oh; try again"),
        (
            ("POST", "/api/validate-yaml"),
            Refused(400, "bad", errors=[{"message": "emoji"}]),
            "- emoji; deploy again when that is mended",
        ),
    ],
)
def test_what_the_hub_refuses_is_told_with_a_remedy(folder, hub, lines, asked, refused, told):
    hub.refusals[asked] = refused
    assert folder.run("deploy", "--repo", REPO) == 1
    assert told in "\n".join(lines())


def test_a_wrong_token_and_none_at_all_are_told(folder, hub, lines, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert folder.run("deploy") == 1
    told = "\n".join(lines())
    assert "answered 401" in told and "hf auth login" in told and "hf_wrong" not in told
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    assert folder.run("deploy") == 1
    assert "there is no token for the Hub; log in with `hf auth login`" in lines()[-1]


def test_a_large_file_that_is_not_taken_is_named(folder, hub, lines):
    oid = hashlib.sha256((folder.root / "assets/weights.bin").read_bytes()).hexdigest()
    hub.refusals["PUT", f"/lfs/{oid}"] = Refused(403, "no")
    assert folder.run("deploy") == 1
    told = lines()[-1]
    assert "Error while uploading 'assets/weights.bin' to the Hub" in told and "deploy again" in told


def test_a_name_that_is_none_is_refused(folder, hub, lines):
    assert folder.run("deploy", "--repo", "one/two/three") == 1
    assert "'one/two/three' is not a valid name of a Space; give OWNER/NAME" in lines()[-1]
    assert hub.requests == []


def test_somebody_elses_space_is_refused(folder, hub, lines):
    assert folder.run("deploy", "--repo", "other/space") == 1
    assert "answered 403 about other/space" in lines()[-1]


def test_a_hub_that_does_not_answer_is_told(folder, hub, lines, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert folder.run("deploy") == 1
    assert "the Hub does not answer" in lines()[-1]


def test_the_command_takes_the_hub_of_the_environment(folder, hub):
    """With everything of the real one: this repository, on an address that HF_ENDPOINT names."""
    found = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "palm_demo.space", "deploy"],
        cwd=SPACEFILE.parent,
        env=os.environ | found,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == f"it runs: {hub.url}/spaces/{REPO}"
    assert sorted(hub.spaces[REPO].files) == sorted([".gitattributes", *Checkout(SPACEFILE.parent).allowed])
