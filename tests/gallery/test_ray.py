"""The same rows, whether one process looks at the pictures or several."""

import os

import pytest
import ray
import ray.data
from PIL import Image

from palm_demo.errors import ClusterError
from palm_demo.gallery import ingest_pictures
from palm_demo.gallery.ingest_ray import ingest_with_ray
from palm_demo.gallery.sources import find_files, pictures_of

pytestmark = pytest.mark.ray


@pytest.fixture
def mixed(folder):
    """With copies, of an earlier batch and of the same one, and files that are none."""
    (folder / "text.png").write_text("words")
    os.rename(folder / "09.png", os.path.join(os.fsencode(folder), b"caf\xe9.png"))
    (folder / "zz-same.png").write_bytes((folder / "00.png").read_bytes())
    Image.open(folder / "01.png").save(folder / "01-anew.jpg", quality=90)
    Image.open(folder / "05.png").save(folder / "zz-anew.jpg", quality=90)
    return folder


def rows(gallery):
    columns = ("id", "name", "path", "original", "thumbnail", "caption", "phash", "embedding")
    return sorted(
        (row for part in gallery.batches(columns) for row in part.to_pylist()), key=lambda r: r["id"]
    )


def test_ray_writes_the_rows_that_the_local_engine_writes(new_gallery, eye, mixed, monkeypatch):
    monkeypatch.setenv("RAY_worker_niceness", "0")  # at 15, a busy machine lets them starve
    monkeypatch.setattr("palm_demo.gallery.ingest_ray.BATCH", 4)
    monkeypatch.setattr("palm_demo.gallery.ingest.BATCH", 4)
    files, captions = pictures_of(find_files(mixed)), {"02.png": "mine"}
    local, parallel, told = new_gallery(), new_gallery(), []
    bad = Image.open(mixed / "07.png").tobytes()

    class Particular(type(eye)):
        """Fails on one picture, in a way that nobody listed."""

        def embed_and_caption(self, images):
            if any(image.tobytes() == bad for image in images):
                raise KeyError("of this picture alone")
            return super().embed_and_caption(images)

    expected = ingest_pictures(local, Particular(), files, captions)
    assert [name for name, _ in expected.unreadable] == ["07.png", "text.png"]
    found = ingest_with_ray(
        parallel, lambda: Particular(), files, captions, on_progress=told.append, workers=2
    )
    assert (found.added, found.known, found.near) == (expected.added, expected.known, expected.near)
    assert found.unreadable == expected.unreadable
    assert rows(parallel) == rows(local)
    assert sum(told) == len(files)


@pytest.fixture
def started(monkeypatch):
    """What Ray was started with; it comes too slowly, as on a machine that has no time for it."""
    asked = []

    def init(**settings):
        asked.append(settings)
        raise Exception("timed out during startup")

    monkeypatch.setattr(ray, "init", init)
    return asked


def test_ray_that_does_not_start_is_an_error_with_a_remedy(new_gallery, eye, mixed, started, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ClusterError, match=r"timed out during startup.*--engine local"):
        ingest_with_ray(new_gallery(), type(eye), pictures_of(find_files(mixed)), {}, workers=3)
    assert (started[0]["address"], started[0]["num_cpus"]) == ("local", 3)


def test_a_cluster_that_is_named_is_joined_and_none_is_started(new_gallery, eye, mixed, started, monkeypatch):
    """Ray refuses to be told of processes where it joins a cluster."""
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(ClusterError, match="RAY_ADDRESS"):
        ingest_with_ray(new_gallery(), type(eye), pictures_of(find_files(mixed)), {})
    assert not {"address", "num_cpus"} & started[0].keys()


def test_a_worker_that_fails_is_an_error_with_a_remedy(new_gallery, eye, mixed, monkeypatch):
    def fail(*given, **settings):
        raise ray.exceptions.RayError("ray::EmbeddingWorker\npalm_demo.errors.CheckpointError: no weights")

    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "put", lambda known: known)
    monkeypatch.setattr(ray.data, "from_items", fail)
    with pytest.raises(ClusterError, match=r"CheckpointError: no weights.*run it again"):
        ingest_with_ray(new_gallery(), type(eye), pictures_of(find_files(mixed)), {})
