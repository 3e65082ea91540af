"""Reading does not write: where there is no gallery none is made, and what is there stays as it is."""

import pytest

from palm_demo.errors import GalleryError
from palm_demo.gallery import (
    MEMORY,
    find_gallery,
    galleries_in,
    has_gallery,
    ingest_pictures,
    open_gallery,
)
from palm_demo.gallery.maintenance import outdated, rebuild
from palm_demo.gallery.sources import find_files, pictures_of
from palm_demo.session.starter_gallery import open_or_begin


def state_of(folder) -> dict:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("there", [True, False])
def test_a_place_without_a_gallery_stays_one(eye, tmp_path, there):
    place = tmp_path / "place"
    if there:
        place.mkdir()
    assert not has_gallery(place)
    assert find_gallery(place, eye.fingerprint) is None
    assert outdated(str(place), eye.fingerprint) == 0
    with pytest.raises(GalleryError, match=r"there is no gallery in .*place; .*gallery add FOLDER"):
        galleries_in(place)
    if not there:
        with pytest.raises(GalleryError, match="there is no gallery"):
            list(rebuild(str(place), eye))
    assert place.exists() == there and [*tmp_path.rglob("*")] == there * [place]


@pytest.mark.parametrize(("name", "wrong"), [("a" * 300, "File name too long"), ("a\0b", "null byte")])
def test_a_place_that_cannot_be_is_refused_and_has_no_gallery(eye, name, wrong):
    assert not has_gallery(name)
    with pytest.raises(GalleryError, match="there is no"):
        find_files(name)
    with pytest.raises(GalleryError, match=wrong):
        open_gallery(name, eye.fingerprint, eye.embedding_dim)


def test_what_is_read_stays_as_it_is(new_gallery, eye, folder, tmp_path):
    gallery = new_gallery(tmp_path / "gallery")
    ingest_pictures(gallery, eye, pictures_of(find_files(folder)))
    gallery.wait()
    before = state_of(tmp_path / "gallery")
    (found,) = galleries_in(tmp_path / "gallery")
    assert (found.fingerprint, found.embedding_dim, len(found), found.indexed) == ("eye1", 192, 12, False)
    opened = open_or_begin(tmp_path / "gallery", eye)
    query = eye.embed_images([opened.sample(1)[0].image])[0]
    assert len(opened.nearest(query, 3)) == len(opened.find(query, 3, words="seen")) == 3
    assert sum(map(len, opened.batches(["original"]))) == 12
    assert state_of(tmp_path / "gallery") == before


@pytest.mark.slow
def test_a_gallery_begins_with_scenes_where_that_is_wanted_and_empty_where_pictures_are_added(eye, tmp_path):
    assert len(open_or_begin(MEMORY, eye)) == len(open_or_begin(tmp_path / "page", eye)) == 240
    assert len(open_gallery(tmp_path / "added", eye.fingerprint, eye.embedding_dim)) == 0
    assert len(open_or_begin(tmp_path / "added", eye)) == 0


@pytest.mark.slow
def test_scenes_that_were_removed_do_not_come_back(eye, tmp_path):
    gallery = open_or_begin(tmp_path, eye)
    assert gallery.remove(gallery.read_columns(["id"])["id"].to_pylist()) == 240
    gallery.wait()
    assert len(open_or_begin(tmp_path, eye)) == 0


@pytest.mark.slow
def test_a_gallery_whose_making_was_killed_before_its_indices_is_searched_by_words(
    eye, tmp_path, monkeypatch
):
    def killed(table):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("palm_demo.gallery.index.prepare", killed)
        with pytest.raises(KeyboardInterrupt):
            open_or_begin(tmp_path, eye)
    gallery = open_or_begin(tmp_path, eye)
    assert len(gallery) == 240
    assert gallery.find(gallery.embeddings([gallery.sample(1)[0].id]).popitem()[1], 3, words="goose")
