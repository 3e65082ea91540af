"""The same rows, whether one process looks at the pictures or several."""

import pytest
from PIL import Image

from palm_demo.gallery import add_pictures
from palm_demo.gallery.adding_with_ray import add_with_ray
from palm_demo.gallery.sources import find_files, pictures_of


@pytest.fixture
def mixed(folder):
    """With copies, and files that are none."""
    (folder / "text.png").write_text("words")
    (folder / "zz-same.png").write_bytes((folder / "00.png").read_bytes())
    Image.open(folder / "01.png").save(folder / "zz-anew.jpg", quality=90)
    return folder


def rows(gallery):
    columns = ("id", "name", "path", "original", "thumbnail", "caption", "phash", "latent")
    return sorted(
        (row for part in gallery.batches(columns) for row in part.to_pylist()), key=lambda r: r["id"]
    )


def test_ray_writes_the_rows_that_the_local_engine_writes(new_gallery, eye, mixed, monkeypatch):
    monkeypatch.setenv("RAY_worker_niceness", "0")  # at 15, a busy machine lets them starve
    monkeypatch.setattr("palm_demo.gallery.adding_with_ray.BATCH", 4)
    monkeypatch.setattr("palm_demo.gallery.adding.BATCH", 4)
    files, captions = pictures_of(find_files(mixed)), {"02.png": "mine"}
    local, parallel, told = new_gallery(), new_gallery(), []
    expected = add_pictures(local, eye, files, captions)
    kind = type(eye)
    found = add_with_ray(parallel, lambda: kind(), files, captions, tell=told.append, workers=2)
    assert (found.added, found.known, found.near) == (expected.added, expected.known, expected.near)
    assert found.unreadable == expected.unreadable
    assert rows(parallel) == rows(local)
    assert sum(told) == len(files)
