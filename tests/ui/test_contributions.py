"""Pictures of visitors: what is told as added is there and its owner's, whatever happens to the others."""

import errno
from types import SimpleNamespace

import pytest

from palm_demo.errors import GalleryError
from palm_demo.gallery import lance, open_gallery
from palm_demo.settings import GalleryRules
from palm_demo.ui.mammut.contributing import Contributions, report_text
from tests.gallery.conftest import Eye, noise

LIMITS = SimpleNamespace(media=8)


@pytest.fixture
def gallery(tmp_path):
    return open_gallery(tmp_path / "gallery", Eye.fingerprint, Eye.embedding_dim)


@pytest.fixture
def session(gallery):
    """An eye with a gallery."""
    session = Eye()
    session.gallery, session.mammut = gallery, session
    return session


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f"my picture {seed}.png" for seed in range(8)]
    for seed, path in enumerate(paths):
        noise(seed).save(path)
    return paths


def all_of(reports):
    *_, last = reports
    return last


def test_what_went_in_before_the_disk_was_full_is_told_and_stays_its_owners(
    session, gallery, files, monkeypatch
):
    real, written = lance.insert_new, []

    def fill_up(table, rows):
        if len(written) == 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(real(table, rows))
        return written[-1]

    monkeypatch.setattr("palm_demo.gallery.store.insert_new", fill_up)
    contributions = Contributions(session, LIMITS, GalleryRules(visitors=True, pictures=100))
    report = all_of(contributions.add("me", files))
    assert len(report.added) == len(gallery) == 5
    assert [name for name, _ in report.unreadable] == [f"my picture {seed}.png" for seed in (5, 6, 7)]
    assert report_text(report).count("free some") == 3
    with pytest.raises(GalleryError, match="not one that you added"):
        contributions.remove("other", report.added)
    assert contributions.remove("me", report.added) == 5


def test_a_picture_keeps_the_name_that_it_was_uploaded_with(session, gallery, files):
    contributions = Contributions(session, LIMITS, GalleryRules(visitors=True, pictures=100))
    again = all_of(contributions.add("me", [files[3], files[3]]))
    assert gallery.read_columns(["name"])["name"].to_pylist() == ["my picture 3.png"]
    assert report_text(again) == "1 added.\nmy picture 3.png is in the gallery already."


def test_a_gallery_that_fills_up_on_the_way_says_so_of_the_rest(session, gallery, files):
    contributions = Contributions(session, LIMITS, GalleryRules(visitors=True, pictures=3))
    reports = contributions.add("me", files[:3])
    next(reports)
    all_of(Contributions(session, LIMITS, GalleryRules(visitors=True, pictures=3)).add("other", files[5:7]))
    report = all_of(reports)
    assert (len(report.added), len(report.unreadable), len(gallery)) == (1, 2, 3)
    assert "may have 3" in report.unreadable[0][1]
