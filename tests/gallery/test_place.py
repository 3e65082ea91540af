"""Where a gallery lies: one rule for the page, the commands and replicas."""

import logging

import pytest

from palm_demo.gallery import MEMORY
from palm_demo.session import starter_gallery
from palm_demo.session.starter_gallery import gallery_place, page_place


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch, tmp_path):
    monkeypatch.delenv("PALM_DEMO_GALLERY", raising=False)
    monkeypatch.setattr(starter_gallery, "data_folder", lambda: tmp_path / "data")


def test_what_was_named_is_the_place(tmp_path, monkeypatch):
    for profile in ("tiny", "hub"):
        for find in (gallery_place, page_place):
            assert find(profile, "s3://bucket/folder") == "s3://bucket/folder"
    monkeypatch.setenv("PALM_DEMO_GALLERY", "mine")
    assert gallery_place("hub") == page_place("hub") == "mine"
    assert not (tmp_path / "data").exists()


def test_each_profile_has_a_gallery_of_its_own(tmp_path):
    assert gallery_place() == gallery_place("tiny", "") == str(tmp_path / "data" / "gallery")
    assert gallery_place("hub") == gallery_place("hub,palm=1b") == str(tmp_path / "data" / "gallery-hub")
    assert not (tmp_path / "data").exists()
    assert page_place("hub") == gallery_place("hub")


def test_profiles_whose_mammut_differs_have_galleries_of_their_own(tmp_path):
    asked = ["hub", "hub,mammut=coca", "hub,mammut=openmammut", "small,mammut=coca-b32-web"]
    assert len({gallery_place(profile) for profile in asked}) == len(asked)
    coca = str(tmp_path / "data" / "gallery-hub-mammut-coca")
    assert gallery_place("hub,palm=1b, mammut=coca") == gallery_place("hub,mammut=coca") == coca


def test_where_a_page_cannot_write_it_is_memory_and_the_log_says_so(tmp_path, caplog):
    (tmp_path / "data").write_text("no folder")
    with caplog.at_level(logging.WARNING):
        assert page_place() == MEMORY
    assert "kept in memory" in caplog.text
