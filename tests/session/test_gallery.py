"""The session's gallery: searched, kept in a folder, or gone with the session."""

import pytest

import palm_demo
from palm_demo.media import decode_image
from palm_demo.session import Session


def test_search_finds_a_gallery_picture_by_itself(session: Session):
    wanted = session.gallery.sample(1, seed=7)[0]
    picture = decode_image(session.gallery.original(wanted.id), wanted.name)
    hits = session.search(picture, k=3)
    assert len(hits) == 3
    assert (hits[0].id, hits[0].caption) == (wanted.id, wanted.caption)
    assert hits[0].score == pytest.approx(1, abs=1e-4)
    assert hits[0].score >= hits[1].score >= hits[2].score


def test_search_by_caption_finds_most_gallery_pictures(session: Session):
    gallery = session.gallery
    assert len(gallery) >= 200
    asked = [item.caption for item in gallery.sample(30, seed=0)]
    found = [caption in [hit.caption for hit in session.search(caption, 5)] for caption in asked]
    assert sum(found) >= 0.7 * len(found)


def test_more_hits_than_pictures_gives_all_pictures(session: Session):
    assert len(session.search("a cat", k=10_000)) == len(session.gallery)


@pytest.mark.slow
def test_a_session_without_a_place_leaves_nothing_behind(session: Session, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fresh = palm_demo.load()
    assert fresh.search("a cat", 1)[0].caption == session.search("a cat", 1)[0].caption
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_gallery_in_a_folder_is_filled_once_and_kept(session: Session, tmp_path):
    first = palm_demo.load(gallery_place=tmp_path)
    gone = first.search("a cat", 1)[0]
    count = len(first.gallery)
    assert count == len(session.gallery)
    first.gallery.remove([gone.id])
    second = palm_demo.load(gallery_place=tmp_path)
    assert len(second.gallery) == count - 1
    assert gone.id not in {hit.id for hit in second.search("a cat", 5)}
