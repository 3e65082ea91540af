"""Files from a Hub that serves, refuses, cuts short, stalls or is not there."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest

from palm_demo.errors import ProfileError
from palm_demo.profiles import File, download, in_cache, no_op
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
        download([FILE], no_op)
    return str(caught.value)


def test_a_file_is_fetched_once_and_its_progress_told(filled):
    steps = []
    path = download([FILE, FILE], steps.append)[FILE]
    assert path.read_bytes() == CONTENT
    parts = [step.part for step in steps if step.part is not None]
    assert parts == sorted(parts) and parts[-1] == 1 and REPO in steps[-1].what
    assert len(filled.asked("GET", FILE.file)) == 1
    assert download([FILE], no_op) == {FILE: path}
    assert len(filled.asked("GET", FILE.file)) == 1


def test_a_revision_is_asked_for_by_its_name(filled):
    commit = "c" * 40
    assert download([File(REPO, FILE.file, commit)], no_op)
    assert filled.asked("GET", f"/resolve/{commit}/{FILE.file}")


def test_the_shards_of_an_index_come_to_its_side(hub):
    index = File(REPO, "parts/model.safetensors.index.json")
    hub.models[REPO] = {
        index.file: b'{"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}',
        "parts/one.safetensors": b"1",
        "parts/two.safetensors": b"2",
    }
    path = download([index], no_op)[index]
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "model.safetensors.index.json",
        "one.safetensors",
        "two.safetensors",
    ]
    hub.models[REPO]["other.safetensors.index.json"] = b"[]"
    with pytest.raises(ProfileError, match="is not an index of weights"):
        download([File(REPO, "other.safetensors.index.json")], no_op)


def test_an_index_that_points_out_of_its_folder_is_refused_before_its_shards_are_asked_for(hub):
    index = File(REPO, "parts/model.safetensors.index.json")
    hub.models[REPO] = {index.file: b'{"weight_map": {"a": "../one.safetensors"}}', "one.safetensors": b"1"}
    with pytest.raises(ProfileError, match="shards have to lie beside their index"):
        download([index], no_op)
    assert not hub.asked("HEAD", "one.safetensors")


def test_what_the_cache_has_needs_no_hub(filled, monkeypatch):
    path = download([FILE], no_op)[FILE]
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert download([FILE], no_op)[FILE] == path


def test_a_file_repository_or_revision_that_is_not_there_is_named(filled):
    for file, told in (
        (File(REPO, "other.bin"), "has no file other.bin at main; name another"),
        (File("no/such", "model.bin"), "has no repository no/such, or does not show it without a token"),
        (File(REPO, FILE.file, "v2"), "has no revision 'v2'; name another"),
    ):
        with pytest.raises(ProfileError, match=told):
            download([file], no_op)


SECOND = File(REPO, FILE.file)
WRONG = (File(REPO, "other.bin", otherwise=SECOND), File("no/such", "a.bin", otherwise=SECOND))


@pytest.mark.parametrize("wrong", [*WRONG, File(REPO, FILE.file, "v2", otherwise=SECOND)])
def test_a_wrong_name_repository_or_commit_is_replaced_by_the_next(wrong, filled):
    assert download([wrong], no_op)[wrong].read_bytes() == CONTENT
    assert not filled.asked("GET", "other.bin")


def test_when_no_name_is_right_all_are_told(filled):
    both = File(REPO, "other.bin", otherwise=File("no/such", "a.bin"))
    with pytest.raises(ProfileError) as caught:
        download([both], no_op)
    assert str(caught.value) == (
        f"{REPO} has no file other.bin at main, and the Hub has no repository no/such, or does not show it "
        "without a token; name another"
    )


def test_a_hub_that_refuses_is_not_taken_for_a_wrong_name(filled):
    filled.refusals["HEAD", f"/{REPO}/resolve/main/other.bin"] = Refused(503, "Service unavailable")
    with pytest.raises(ProfileError, match=r"answered 503 about other\.bin"):
        download([WRONG[0]], no_op)
    filled.refusals["HEAD", f"/{REPO}/resolve/main/other.bin"] = Refused(403, "restricted", "GatedRepo")
    with pytest.raises(ProfileError, match="accept its terms"):
        download([WRONG[0]], no_op)


def as_safetensors(pickle: Path) -> Path:
    made = pickle.with_name(f"{pickle.name}.safetensors")
    made.write_bytes(b"of " + pickle.read_bytes())
    return made


def files_in(cache: Path) -> set[str]:
    return {path.name for path in (cache / f"models--{REPO.replace('/', '--')}").rglob("*") if path.is_file()}


def test_a_pickle_that_was_fetched_does_not_stay_once_it_is_converted(hub, monkeypatch, tmp_path):
    pickle, index = File(REPO, "a.pt"), File(REPO, "b.bin.index.json")
    hub.models[REPO] = {
        "a.pt": b"weights",
        "b-1.bin": b"one",
        "b-2.bin": b"two",
        index.file: b'{"weight_map": {"x": "b-1.bin", "y": "b-2.bin"}}',
    }
    steps = []
    found = download([pickle, index], steps.append, as_safetensors)
    assert found[pickle].name == "a.pt.safetensors" and found[pickle].read_bytes() == b"of weights"
    assert (found[index].parent / "b-2.bin.safetensors").read_bytes() == b"of two"
    left = files_in(tmp_path / "cache")
    assert not {"a.pt", "b-1.bin", "b-2.bin"} & left
    blobs = [path.read_bytes() for path in (tmp_path / "cache").rglob("blobs/*")]
    assert blobs == [hub.models[REPO][index.file]]
    assert f"Rewriting a.pt of {REPO} as safetensors" in [step.what for step in steps]
    # neither is fetched again, nor with a Hub that nobody reaches
    assert download([pickle, index], no_op, as_safetensors) == found
    assert len(hub.asked("GET", "a.pt")) == len(hub.asked("GET", "b-2.bin")) == 1
    assert in_cache(pickle) and in_cache(index) and not in_cache(File(REPO, "c.pt"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert download([pickle, index], no_op, as_safetensors) == found


def test_a_pickle_that_was_there_before_stays(hub, tmp_path):
    pickle = File(REPO, "a.pt")
    hub.models[REPO] = {"a.pt": b"weights"}
    path = download([pickle], no_op)[pickle]
    assert download([pickle], no_op, as_safetensors)[pickle] == path and path.read_bytes() == b"weights"


def test_a_new_commit_is_fetched_although_an_older_pickle_was_converted(hub, monkeypatch):
    pickle = File(REPO, "a.pt")
    hub.models[REPO] = {"a.pt": b"weights"}
    download([pickle], no_op, as_safetensors)
    monkeypatch.setattr("tests.hub.models.COMMIT", "d" * 40)
    hub.models[REPO] = {"a.pt": b"others"}
    assert download([pickle], no_op, as_safetensors)[pickle].read_bytes() == b"of others"


def test_a_refusal_comes_with_its_remedy(filled):
    for refusal, told in (
        (Refused(401, "Invalid username or password"), "set HF_TOKEN"),
        (Refused(403, "Access to model is restricted", "GatedRepo"), "accept its terms"),
        (Refused(503, "Service unavailable"), "answered 503 .* in a few minutes"),
    ):
        filled.refusals["HEAD", PATH] = refusal
        with pytest.raises(ProfileError, match=told):
            download([FILE], no_op)


def test_a_file_that_is_cut_short_is_told_and_not_kept(filled, tmp_path):
    filled.cut_bytes = 1000
    assert "did not come whole" in refused()
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.name.endswith("incomplete")]
    filled.cut_bytes = None
    assert download([FILE], no_op)[FILE].read_bytes() == CONTENT


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
