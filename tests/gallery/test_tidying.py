"""What a picture costs on the disk, and when a table is written anew."""

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from palm_demo.gallery import Gallery, index, open_gallery
from palm_demo.gallery.pictures import thumbnail
from palm_demo.gallery.rows import Row
from palm_demo.session.starter_gallery import open_or_begin

DIM, BYTES = 192, 530_000
THUMBNAIL = thumbnail(Image.effect_noise((192, 192), 60).convert("RGB"))


def row_of(number: int, size: int = BYTES) -> Row:
    """An upload: a file that no compression shrinks, with its thumbnail and embedding."""
    embedding = np.random.default_rng(number).standard_normal(DIM).astype(np.float32)
    embedding /= np.linalg.norm(embedding)
    name, now = f"{number:064}", datetime.now(timezone.utc)
    return Row(name, name, None, os.urandom(size), THUMBNAIL, f"picture {number}", number, now, embedding)


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def on_disk(monkeypatch):
    """The most bytes that the gallery's files took, looked at before and after each step of tidying."""

    def watch(gallery: Gallery) -> list[int]:
        seen = []

        def watched(step):
            def run(table, *rest):
                seen.append(size(Path(gallery.place)))
                step(table, *rest)
                seen.append(size(Path(gallery.place)))

            return run

        monkeypatch.setattr(index, "KEPT", timedelta(milliseconds=1))
        for name in ("tidy", "remove_versions"):
            monkeypatch.setattr(index, name, watched(getattr(index, name)))
        return seen

    return watch


@pytest.mark.slow
@pytest.mark.parametrize("count", [20, 100])
def test_a_visitors_picture_costs_at_most_three_times_its_bytes(eye, tmp_path, on_disk, count):
    """Added to a gallery as the page begins it, one after another, each a commit of its own."""
    gallery = open_or_begin(tmp_path, eye)
    begun, seen = size(tmp_path), on_disk(gallery)
    for number in range(count):
        gallery.add([row_of(number)])
        gallery.wait()
        seen.append(size(tmp_path))
    gallery.tidy()
    assert seen[-1] - begun <= 1.1 * BYTES * count
    assert max(seen) - begun <= 3 * BYTES * count


@pytest.mark.slow
def test_pictures_that_come_and_go_leave_nothing(eye, tmp_path):
    gallery = open_or_begin(tmp_path, eye)
    begun = size(tmp_path)
    for number in range(60):
        gallery.add([row_of(number)])
        gallery.remove([f"{number:064}"])
        gallery.wait()
        assert size(tmp_path) <= 3 * begun + index.WASTE + 10 * BYTES
    assert len(gallery) == 240


def test_a_large_gallery_is_not_written_anew_for_a_few_pictures(tmp_path, monkeypatch):
    gallery = open_gallery(tmp_path, "f", DIM)
    gallery.add([row_of(number, 1000) for number in range(300)])
    monkeypatch.setattr(index, "tidy", lambda table: pytest.fail("the table was written anew"))
    for number in range(300, 340):
        gallery.add([row_of(number, 1000)])
    gallery.wait()
    assert len(gallery) == 340


@pytest.mark.parametrize(("rows", "commits", "due"), [(0, 3, False), (0, 40, True), (300, 40, False)])
def test_it_is_time_when_what_came_since_is_as_much_as_what_was_there(
    tmp_path, monkeypatch, rows, commits, due
):
    monkeypatch.setattr("palm_demo.gallery.store.LOOKED_AFTER", 10**6)
    gallery = open_gallery(tmp_path, "f", DIM)
    gallery.add([row_of(number, 10) for number in range(rows)])
    for number in range(commits):
        gallery.add([row_of(rows + number, 10)])
    assert index.untidy(gallery.table, tmp_path) is due


def test_many_small_files_are_tidied_anyway(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "MANY", 5)
    monkeypatch.setattr("palm_demo.gallery.store.LOOKED_AFTER", 10**6)
    gallery = open_gallery(tmp_path, "f", DIM)
    gallery.add([row_of(number, 10) for number in range(100)])
    for number in range(5):
        gallery.add([row_of(100 + number, 10)])
    assert index.untidy(gallery.table, None)
    gallery.tidy()
    assert not index.untidy(gallery.table, tmp_path)
    assert gallery.table.stats()["fragment_stats"]["num_fragments"] == 1


def test_where_no_thread_can_be_started_tidying_is_put_off(new_gallery, eye, monkeypatch):
    gallery = new_gallery()

    def start(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr("palm_demo.gallery.store.threading.Thread.start", start)
        gallery.tidy_when_due()
    gallery.tidy_when_due()
    gallery.wait()


def test_one_process_tidies_at_a_time(tmp_path, monkeypatch):
    gallery = open_gallery(tmp_path, "f", DIM)
    tidied = []
    monkeypatch.setattr(index, "tidy", tidied.append)
    with index.alone(tmp_path) as first, index.alone(tmp_path) as second:
        assert (first, second) == (True, False)
        gallery.tidy()
        assert tidied == []
    gallery.tidy()
    assert len(tidied) == 1
