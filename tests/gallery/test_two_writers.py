"""Several that write to one gallery at once: as one after another, and what is told is what happened."""

import errno
import resource
import signal
import threading
from contextlib import contextmanager
from datetime import timedelta

import numpy as np
import pytest

from palm_demo.errors import GalleryError
from palm_demo.gallery import index, ingest_pictures, lance, open_gallery, opening
from palm_demo.gallery.lance import connect
from palm_demo.gallery.sources import find_files, pictures_of
from palm_demo.session.starter_gallery import open_or_begin
from tests.gallery.conftest import DIM, Eye, noise, row_of

COUNT, TOGETHER = 100, 5


def add_all(place: str, ready, told) -> None:
    """Adds the same hundred as the other process does, tidying now and then; tells which were its own."""
    gallery = open_gallery(place, "f", DIM)
    ready.wait()
    added = []
    for start in range(0, COUNT, TOGETHER):
        added += gallery.add([row_of(number) for number in range(start, start + TOGETHER)])
        if start % (4 * TOGETHER) == 0:
            gallery.tidy()
    told.put(added)


def add_and_remove(place: str, ready, told, first: int) -> None:
    """Adds pictures of its own, and removes every second one."""
    gallery = open_gallery(place, "f", DIM)
    ready.wait()
    for number in range(first, first + 20):
        assert gallery.add([row_of(number)]) == [f"{number:064}"]
        if number % 2:
            assert gallery.remove([f"{number:064}"]) == 1
        gallery.tidy()
    told.put(first)


def run_together(processes, function, *arguments):
    ready, told = processes.Barrier(len(arguments)), processes.Queue()
    running = [
        processes.Process(target=function, args=(first, ready, told, *rest)) for first, *rest in arguments
    ]
    for process in running:
        process.start()
    answers = [told.get(timeout=120) for _ in running]
    for process in running:
        process.join()
        assert process.exitcode == 0
    return answers


@pytest.mark.slow
def test_two_that_add_the_same_leave_no_picture_twice_and_each_is_told_as_added_once(processes, tmp_path):
    first, second = run_together(processes, add_all, (str(tmp_path),), (str(tmp_path),))
    gallery = open_gallery(tmp_path, "f", DIM)
    ids = sorted(gallery.read_columns(["id"])["id"].to_pylist())
    assert ids == [f"{number:064}" for number in range(COUNT)]
    assert sorted(first + second) == ids


def test_what_an_insertion_is_checked_against_stays_until_it_is_done(tmp_path, monkeypatch):
    """While one is on its way, another inserts the same row and tidies all earlier versions away."""
    monkeypatch.setattr(index, "KEPT", timedelta(0))
    slow = open_gallery(tmp_path, "f", DIM)
    slow.add([row_of(0)])
    quick = open_gallery(tmp_path, "f", DIM)
    moved, real_insert, real_writing = threading.Event(), lance.insert_new, index.writing
    added: list[str] = []

    @contextmanager
    def writing(folder):
        if threading.current_thread() is other:
            moved.set()
        with real_writing(folder):
            yield

    def add_and_tidy():
        try:
            added.extend(quick.add([row_of(1)]))
            quick.add([row_of(2)])
            quick.tidy()
        finally:
            moved.set()

    def insert(table, rows):
        if other.ident is None:
            other.start()
            moved.wait()
        return real_insert(table, rows)

    other = threading.Thread(target=add_and_tidy)
    monkeypatch.setattr(index, "writing", writing)
    monkeypatch.setattr("palm_demo.gallery.store.insert_new", insert)
    mine = slow.add([row_of(1)])
    other.join()
    ids = sorted(slow.read_columns(["id"])["id"].to_pylist())
    assert ids == [f"{number:064}" for number in range(3)]
    assert sorted(mine + added) == [f"{1:064}"]


@pytest.mark.slow
def test_a_gallery_of_an_earlier_version_gets_its_key_with_the_first_write(processes, tmp_path, monkeypatch):
    plain = opening.schema(DIM)
    plain = plain.set(0, plain.field(0).remove_metadata())
    monkeypatch.setattr(opening, "schema", lambda dim: plain)
    table = open_gallery(tmp_path, "f", DIM).table
    assert not lance.keyed(table)
    monkeypatch.undo()
    run_together(processes, add_all, (str(tmp_path),), (str(tmp_path),))
    gallery = open_gallery(tmp_path, "f", DIM)
    assert lance.keyed(gallery.table)
    assert len(gallery) == COUNT


@pytest.mark.slow
def test_two_that_add_remove_and_tidy_never_hear_of_a_lost_race(processes, tmp_path):
    run_together(processes, add_and_remove, (str(tmp_path), 0), (str(tmp_path), 1000))
    gallery = open_gallery(tmp_path, "f", DIM)
    ids = {int(id) for id in gallery.read_columns(["id"])["id"].to_pylist()}
    assert ids == {*range(0, 20, 2), *range(1000, 1020, 2)}


@pytest.mark.slow
def test_six_that_open_a_new_gallery_at_once_find_the_same_scenes(eye, tmp_path):
    ready, found = threading.Barrier(6), []

    def search():
        ready.wait()
        gallery = open_or_begin(tmp_path, eye)
        found.append(gallery.nearest(np.full(eye.embedding_dim, 0.07, np.float32), 3))

    threads = [threading.Thread(target=search) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6 and all(hits == found[0] for hits in found)
    assert len(open_or_begin(tmp_path, eye)) == 240


def test_a_reader_whose_version_another_lets_go_looks_again(tmp_path):
    reader, writer = (open_gallery(tmp_path, "f", DIM) for _ in range(2))
    writer.add([row_of(number) for number in range(20)])
    parts = reader.batches(["id", "original"], size=5)
    seen = next(parts)["id"].to_pylist()
    for number in range(100, 120):
        writer.add([row_of(number)])
    writer.remove([f"{19:064}"])
    writer.table.optimize(cleanup_older_than=timedelta(milliseconds=1))
    seen += [id for part in parts for id in part["id"].to_pylist()]
    assert seen == [f"{number:064}" for number in range(19)]


def test_tidying_that_fails_is_not_the_failure_of_what_was_written(new_gallery, eye, tmp_path, monkeypatch):
    def lose(table):
        raise RuntimeError("lance error: Retryable commit conflict for version 7: preempted. Please retry.")

    monkeypatch.setattr("palm_demo.gallery.index.tidy", lose)
    monkeypatch.setattr("palm_demo.gallery.index.untidy", lambda table, folder: True)
    monkeypatch.setattr(lance, "FIRST_WAIT_SECONDS", 0)
    gallery = new_gallery(tmp_path / "gallery")
    (tmp_path / "pictures").mkdir()
    for seed in range(10):
        noise(seed).save(tmp_path / "pictures" / f"{seed}.png")
    for file in pictures_of(find_files(tmp_path / "pictures")):
        assert len(ingest_pictures(gallery, eye, [file]).added) == 1
    gallery.wait()
    ids = gallery.read_columns(["id"])["id"].to_pylist()
    assert [gallery.remove([id]) for id in ids] == [1] * 10
    gallery.wait()
    with pytest.raises(GalleryError, match="others write to it all the time"):
        gallery.tidy()


def test_a_commit_whose_answer_is_lost_is_told_as_done(new_gallery, eye, tmp_path, monkeypatch):
    """The connection to a bucket breaks after the commit."""
    gallery, real = new_gallery(tmp_path), lance.insert_new

    def break_off(table, rows):
        real(table, rows)
        raise OSError(errno.ECONNRESET, "Connection reset by peer")

    monkeypatch.setattr("palm_demo.gallery.store.insert_new", break_off)
    noise(1).save(tmp_path / "1.png")
    report = ingest_pictures(gallery, eye, [f for f in find_files(tmp_path) if f.name == "1.png"])
    assert len(report.added) == len(gallery) == 1


def test_a_run_that_ends_says_how_many_went_in_before(new_gallery, eye, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("palm_demo.gallery.ingest.BATCH", 5)
    gallery, real, done = new_gallery(tmp_path / "gallery"), lance.insert_new, []

    def fill_up(table, rows):
        if done:
            raise OSError(errno.ENOSPC, "No space left on device")
        done.append(real(table, rows))
        return done[0]

    monkeypatch.setattr("palm_demo.gallery.store.insert_new", fill_up)
    with pytest.raises(GalleryError, match=r"^5 pictures of this run are in the gallery.*free some"):
        ingest_pictures(gallery, eye, pictures_of(find_files(folder)))
    assert len(gallery) == 5


def fill_the_disk(place: str, told) -> None:
    """A disk that takes no more than small files, until it does again."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    eye = Eye()
    gallery = open_gallery(place, eye.fingerprint, eye.embedding_dim)
    files = pictures_of(find_files(f"{place}/../pictures"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    added, failed = [], []
    for number, file in enumerate(files):
        full = number in (2, 3)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000 if full else limits[0], limits[1]))
        try:
            added += ingest_pictures(gallery, eye, [file]).added
        except GalleryError as error:
            failed.append(str(error))
    told.put((added, failed, len(gallery)))


@pytest.mark.slow
def test_a_full_disk_is_told_what_was_told_as_added_is_there_and_it_goes_on_with_space(processes, tmp_path):
    (tmp_path / "pictures").mkdir()
    for seed in range(6):
        noise(seed).save(tmp_path / "pictures" / f"{seed}.png")
    told = processes.Queue()
    process = processes.Process(target=fill_the_disk, args=(str(tmp_path / "gallery"), told))
    process.start()
    added, failed, count = told.get(timeout=120)
    process.join()
    assert len(failed) == 2 and all("no space left where it lies" in why for why in failed)
    assert len(added) == count == 4


def test_a_gallery_that_is_moved_away_under_a_handle_is_told_and_found_again_when_it_is_back(
    new_gallery, eye, folder, tmp_path
):
    gallery = new_gallery(tmp_path / "gallery")
    ingest_pictures(gallery, eye, pictures_of(find_files(folder)))
    query = eye.embed_images([noise(3)])[0]
    before = gallery.nearest(query, 3)
    (tmp_path / "gallery").rename(tmp_path / "away")
    for ask in (
        lambda: gallery.nearest(query, 3),
        lambda: gallery.original(before[0].id),
        lambda: len(gallery),
    ):
        with pytest.raises(GalleryError, match="cannot be read or written"):
            ask()
    with pytest.raises(GalleryError, match="cannot be read or written"):
        ingest_pictures(gallery, eye, pictures_of(find_files(folder))[:1])
    (tmp_path / "away").rename(tmp_path / "gallery")
    assert gallery.nearest(query, 3) == before
    assert connect(str(tmp_path / "gallery")) is not None
