"""What becomes of a profile that cannot be loaded: one line in the log, and the bundled weights."""

import logging
import shutil
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch

from palm_demo.errors import PalmDemoError
from palm_demo.gallery import MEMORY
from palm_demo.inference.settings import BatchLimits
from palm_demo.media import MediaLimits
from palm_demo.session import Session, load_or_tiny, loading
from tests.hub import Refused

from .weights import publish


@pytest.fixture
def full_hub(hub):
    publish(hub)
    return hub


@pytest.fixture
def opened(session, monkeypatch, caplog):
    """Opens a profile; gives why it fell back, after a look at the session and the log."""
    monkeypatch.setattr(loading, "_bundled", lambda limits: session.models)  # loaded once for all tests

    def open_(profile) -> str:
        with caplog.at_level(logging.ERROR):
            made, why = load_or_tiny(profile, MediaLimits(), BatchLimits(), "no gallery", lambda: MEMORY)
        assert isinstance(made, Session) and isinstance(why, PalmDemoError)
        assert made.models is session.models and made.gallery_place == MEMORY
        (record,) = [record for record in caplog.records if record.name == loading.__name__]
        assert "\n" not in record.getMessage() and "the bundled weights take its place" in record.getMessage()
        return str(why)

    return open_


def test_a_profile_that_loads_has_nothing_to_say(full_hub, profile):
    made, why = load_or_tiny(profile, MediaLimits(), BatchLimits(), MEMORY, lambda: MEMORY)
    assert why is None and made.about["palm"]["name"] == "PaLM small"


@pytest.mark.parametrize("text", ["version: 2\n", "palm: [", ""])
def test_a_profile_with_mistakes_asks_for_nothing(text, full_hub, opened, tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    assert "wrong.yaml cannot be used as it is" in opened(path)
    assert not full_hub.requests


def test_a_profile_that_is_none(full_hub, opened):
    assert "there is no profile 'nowhere.yaml'; take tiny, hub, small" in opened("nowhere.yaml")


def test_a_file_that_the_hub_does_not_have(full_hub, profile, opened):
    del full_hub.models["them/palm"]["palm.pt"]
    assert "them/palm has no file palm.pt at main; name another" in opened(profile)


def test_a_repository_that_asks_for_a_token(full_hub, profile, opened):
    full_hub.refusals["HEAD", "/them/lm/resolve/main/config.json"] = Refused(401, "Invalid credentials")
    assert "set HF_TOKEN to a token that may read it" in opened(profile)


def test_a_file_that_stalls(full_hub, profile, opened):
    full_hub.stalling.add("palm.pt")
    assert "palm.pt of them/palm stopped coming (ReadTimeout)" in opened(profile)


def test_a_file_that_is_cut_short_on_the_way(full_hub, profile, opened):
    full_hub.cut_bytes = 5000
    assert "did not come whole" in opened(profile)


@pytest.mark.parametrize(
    ("repo", "file"), [("them/mammut", "open_clip_pytorch_model.bin"), ("them/lm", "a.safetensors")]
)
def test_a_file_that_is_cut_short_on_the_hub_itself(repo, file, full_hub, profile, opened):
    full_hub.models[repo][file] = full_hub.models[repo][file][:-5000]
    said = opened(profile)
    assert file in said and "not downloaded to its end" in said and "delete it and download it again" in said


def test_a_checkpoint_of_another_model(full_hub, profile, opened):
    full_hub.models["them/palm"]["palm.pt"] = full_hub.models["them/mammut"]["open_clip_pytorch_model.bin"]
    assert "these tensors do not fit palm-8k: missing" in opened(profile)


def test_a_hub_that_cannot_be_reached(full_hub, profile, opened, monkeypatch):
    template = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    assert "cannot be reached" in opened(profile)


def test_a_disk_without_room(full_hub, profile, opened, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    assert "there is no room for the files" in opened(profile)
    assert not full_hub.asked("GET", "palm.pt")


def test_too_little_memory(full_hub, profile, opened, monkeypatch):
    monkeypatch.setattr(loading, "free_memory", lambda: {"cpu": 200_000_000})
    assert "there is too little memory: even PaLM small, OpenFlamingo small" in opened(profile)
    assert not full_hub.requests


def test_memory_that_runs_out_all_the_same(full_hub, profile, opened, monkeypatch):
    def greedy(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setitem(loading.READERS, "flamingo", greedy)
    assert "memory ran out while the weights were read" in opened(profile)


def test_an_extra_that_is_not_installed(full_hub, profile, opened, monkeypatch):
    monkeypatch.setattr(loading.importlib.util, "find_spec", lambda name: None)
    assert "OpenFlamingo needs transformers, which is not installed" in opened(profile)
    assert not full_hub.requests


def test_what_nobody_foresaw(full_hub, profile, opened, monkeypatch, caplog):
    monkeypatch.setitem(loading.READERS, "palm", lambda *_: 1 / 0)
    made, why = load_or_tiny(profile, MediaLimits(), BatchLimits(), MEMORY, lambda: MEMORY)
    assert made.gallery_place == MEMORY and "something unforeseen went wrong (ZeroDivisionError)" in str(why)
    assert "Traceback" in caplog.text
