"""Files from a Hub that serves, refuses, cuts short, stalls or is not there."""

import shutil
from types import SimpleNamespace

import huggingface_hub
import pytest

from palm_demo.errors import ProfileError
from palm_demo.profiles import File, download, untold
from tests.hub import Refused

REPO = "someone/weights"
FILE = File(REPO, "model.safetensors")
PATH = f"/{REPO}/resolve/main/{FILE.file}"
CONTENT = bytes(range(256)) * 4000


@pytest.fixture
def filled(hub):
    hub.models[REPO] = {FILE.file: CONTENT}
    return hub


def refused() -> str:
    with pytest.raises(ProfileError) as caught:
        download([FILE], untold)
    return str(caught.value)


def test_a_file_is_fetched_once_and_its_progress_told(filled):
    steps = []
    path = download([FILE, FILE], steps.append)[FILE]
    assert path.read_bytes() == CONTENT
    parts = [step.part for step in steps if step.part is not None]
    assert parts == sorted(parts) and parts[-1] == 1 and REPO in steps[-1].what
    assert len(filled.asked("GET", FILE.file)) == 1
    assert download([FILE], untold) == {FILE: path}
    assert len(filled.asked("GET", FILE.file)) == 1


def test_a_revision_is_asked_for_by_its_name(filled):
    commit = "c" * 40
    assert download([File(REPO, FILE.file, commit)], untold)
    assert filled.asked("GET", f"/resolve/{commit}/{FILE.file}")


def test_the_shards_of_an_index_come_to_its_side(hub):
    index = File(REPO, "parts/model.safetensors.index.json")
    hub.models[REPO] = {
        index.file: b'{"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}',
        "parts/one.safetensors": b"1",
        "parts/two.safetensors": b"2",
    }
    path = download([index], untold)[index]
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "model.safetensors.index.json",
        "one.safetensors",
        "two.safetensors",
    ]
    hub.models[REPO]["other.safetensors.index.json"] = b"[]"
    with pytest.raises(ProfileError, match="is no index of weights"):
        download([File(REPO, "other.safetensors.index.json")], untold)


def test_what_the_cache_has_needs_no_hub(filled, monkeypatch):
    path = download([FILE], untold)[FILE]
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert download([FILE], untold)[FILE] == path


def test_a_file_repository_or_revision_that_is_not_there_is_named(filled):
    for file, told in (
        (File(REPO, "other.bin"), "has no file other.bin at main; name another"),
        (File("no/such", "model.bin"), "has no repository no/such, or does not show it without a token"),
        (File(REPO, FILE.file, "v2"), "has no revision 'v2'; name another"),
    ):
        with pytest.raises(ProfileError, match=told):
            download([file], untold)


def test_a_refusal_comes_with_its_remedy(filled):
    for refusal, told in (
        (Refused(401, "Invalid username or password"), "set HF_TOKEN"),
        (Refused(403, "Access to model is restricted", "GatedRepo"), "accept its terms"),
        (Refused(503, "Service unavailable"), "answered 503 .* in a few minutes"),
    ):
        filled.refusals["HEAD", PATH] = refusal
        with pytest.raises(ProfileError, match=told):
            download([FILE], untold)


def test_a_file_that_is_cut_short_is_told_and_not_kept(filled, tmp_path):
    filled.cut_bytes = 1000
    assert "did not come whole" in refused()
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.name.endswith("incomplete")]
    filled.cut_bytes = None
    assert download([FILE], untold)[FILE].read_bytes() == CONTENT


def test_a_file_that_stalls_is_given_up(filled):
    filled.stalling.add(FILE.file)
    assert "model.safetensors of someone/weights stopped coming (ReadTimeout)" in refused()


def test_a_hub_that_is_not_there_is_told_with_its_address(filled, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    template = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    said = refused()
    assert "the Hub at http://127.0.0.1:9 cannot be reached for model.safetensors" in said


def test_a_client_that_is_kept_offline_is_told_so(filled, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE keeps the Hub's client offline; set it to 0" in refused()


def test_a_disk_without_room_is_told_before_the_first_byte(filled, monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    said = refused()
    assert f"no room for the files in {tmp_path / 'cache'}" in said and "set HF_HOME" in said
    assert not filled.asked("GET", FILE.file)


def test_a_disk_that_fills_up_on_the_way_is_told_as_well(filled, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    assert "No space left on device; make room" in refused()
