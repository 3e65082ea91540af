"""One bad item is a line of the report, whatever is wrong with it; the others go in, and again go on."""

import os

import numpy as np
import pytest
from PIL import Image

from palm_demo.errors import DeviceMemoryError, MediaError
from palm_demo.gallery import sources
from palm_demo.gallery.ingest import BATCH
from palm_demo.gallery.report import each
from palm_demo.gallery.sources import Source, find_files
from tests.gallery.conftest import add, png


def test_a_folder_of_links_as_the_hub_keeps_files_is_read(new_gallery, eye, tmp_path):
    blobs, shown = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    shown.mkdir(parents=True)
    for seed in range(3):
        (blobs / f"hash{seed}").write_bytes(png(seed))
        (shown / f"{seed}.png").symlink_to(f"../../blobs/hash{seed}")
    gallery = new_gallery()
    assert len(add(gallery, eye, tmp_path / "snapshots").added) == 3
    assert {item.name for item in gallery.sample(3)} == {f"abc/{seed}.png" for seed in range(3)}


def test_links_in_a_circle_and_to_nowhere_are_told_and_each_folder_is_read_once(new_gallery, eye, tmp_path):
    root = tmp_path / "root"
    (root / "deep" / "er").mkdir(parents=True)
    (root / "deep" / "0.png").write_bytes(png(0))
    (root / "deep" / "er" / "back").symlink_to(root)
    (root / "deep" / "self").symlink_to("self")
    (root / "a-link").symlink_to(root / "deep")
    (root / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "1.png").write_bytes(png(1))
    (root / "other").symlink_to(tmp_path / "other")
    report = add(new_gallery(), eye, root)
    told = dict(report.unreadable)
    assert "back to a folder around it" in told["deep/er/back/"]
    assert "leads nowhere" in told["gone.png"]
    assert len(report.added) == 2 and report.known == []


def test_folders_that_link_to_each_other_do_not_multiply(tmp_path):
    """Twenty folders with two links each to the next: a million ways to the last one."""
    for level in range(20):
        (tmp_path / str(level)).mkdir()
        for name in "ab":
            (tmp_path / str(level) / name).symlink_to(tmp_path / str(level + 1))
    (tmp_path / "20").mkdir()
    (tmp_path / "20" / "0.png").write_bytes(png(0))
    assert len(find_files(tmp_path / "0")) == 1


def test_a_pipe_and_a_folder_called_like_pictures_are_told_and_do_not_hang(new_gallery, eye, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "0.png").write_bytes(png(0))
    report = add(new_gallery(), eye, tmp_path)
    assert [name for name, _ in report.unreadable] == ["pipe.png"]
    assert "not a regular file" in report.unreadable[0][1]
    with pytest.raises(MediaError, match="not a regular file"):
        Source(tmp_path, "pipe.png").read()
    with pytest.raises(MediaError, match="cannot be read"):
        Source(tmp_path, "folder.png").read()


def test_a_file_name_that_is_no_utf8_goes_in(new_gallery, eye, tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.png")
    with open(path, "wb") as file:
        file.write(png(0))
    gallery = new_gallery()
    assert len(add(gallery, eye, tmp_path).added) == 1
    assert gallery.sample(1)[0].name == "caf\\udce9.png"
    linked = new_gallery()
    ((_, why),) = add(linked, eye, tmp_path, link=True).unreadable
    assert "without --link" in why


class Odd(Exception):
    """A kind of error that nobody has listed."""


@pytest.mark.parametrize(
    "error", [Odd("odd"), RecursionError(), OverflowError("x"), KeyError("k"), Odd("\ud800")]
)
@pytest.mark.parametrize("verb", ["embed_and_caption", "embed_images", "read"])
def test_an_error_of_any_kind_of_one_picture_is_a_line(new_gallery, eye, folder, monkeypatch, error, verb):
    bad = Image.open(folder / "05.png").tobytes()

    def fail(images):
        if any(image.tobytes() == bad for image in images):
            raise error
        return real(images)

    if verb == "read":
        real_read = Source.read
        monkeypatch.setattr(
            Source,
            "read",
            lambda file: (_ for _ in ()).throw(error) if "05" in file.name else real_read(file),
        )
    else:
        real = getattr(eye, verb)
        monkeypatch.setattr(eye, verb, fail)
    gallery = new_gallery()
    report = add(gallery, eye, folder)
    ((name, why),) = report.unreadable
    assert name == "05.png" and type(error).__name__ in why and "leave it out" in why
    why.encode()
    assert len(report.added) == len(gallery) == 11
    monkeypatch.undo()
    assert len(add(gallery, eye, folder).added) == 1


@pytest.mark.parametrize("error", [MemoryError(), KeyboardInterrupt(), DeviceMemoryError("no memory")])
def test_what_is_no_pictures_fault_ends_the_run(new_gallery, eye, folder, monkeypatch, error):
    def fail(images):
        raise error

    monkeypatch.setattr(eye, "embed_and_caption", fail)
    with pytest.raises(type(error)):
        add(new_gallery(), eye, folder)


def test_an_embedding_that_is_not_finite_is_left_out(new_gallery, eye, folder, monkeypatch):
    real = eye.embed_images

    def spoiled(images):
        rows = real(images)
        rows[0] = np.nan
        return rows

    monkeypatch.setattr(eye, "embed_images", spoiled)
    report = add(new_gallery(), eye, folder)
    assert len(report.unreadable) == 1 and "not finite" in report.unreadable[0][1]
    assert len(report.added) == 11


def test_those_that_do_not_fail_stay_together():
    seen = []

    def compute(items):
        seen.append(len(items))
        if 13 in items:
            raise Odd("13")
        return [2 * item for item in items]

    results = each(compute, range(BATCH))
    assert [str(one) for one in results[13:14]] == ["13"]
    assert [*results[:13], *results[14:]] == [2 * item for item in range(BATCH) if item != 13]
    assert len(seen) == 13


def test_a_picture_of_too_many_bytes_is_read_no_further(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "FILE_BYTES", 1000)
    (tmp_path / "a.png").write_bytes(bytes(5000))
    with pytest.raises(MediaError, match="more than 1,000 bytes"):
        Source(tmp_path, "a.png").read()
