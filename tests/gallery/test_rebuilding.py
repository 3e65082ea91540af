"""Rebuilding: other weights see the same pictures; a run that was stopped goes on where it was."""

import pytest
from PIL import Image

from palm_demo.errors import GalleryError
from palm_demo.gallery import add_pictures, open_gallery
from palm_demo.gallery.captions import captions_beside
from palm_demo.gallery.exporting import export
from palm_demo.gallery.rebuilding import outdated, rebuild
from palm_demo.gallery.sources import find_files, pictures_of


@pytest.fixture
def place(new_gallery, eye, folder, tmp_path) -> str:
    """A gallery that the first weights made, one of its files linked and gone since."""
    gallery = new_gallery(tmp_path / "gallery")
    files = pictures_of(find_files(folder))
    add_pictures(gallery, eye, files[1:])
    add_pictures(gallery, eye, files[:1], link=True)
    (folder / files[0].name).unlink()
    return str(tmp_path / "gallery")


@pytest.fixture
def other(eye):
    """Weights that see the same upside down, and one number less."""

    class Other(type(eye)):
        fingerprint, dim_latents = "eye2", 191

        def embed_images(self, images):
            rows = super().embed_images(images)[:, :0:-1]
            return rows / (rows**2).sum(axis=1, keepdims=True) ** 0.5

    return Other()


def rows(gallery, *columns):
    return sorted(tuple(row.values()) for part in gallery.batches(columns) for row in part.to_pylist())


def test_a_rebuilt_gallery_has_the_same_pictures_and_new_latents(place, eye, other):
    kept = ("id", "name", "caption", "added", "path", "original", "phash")
    before = rows(open_gallery(place, eye.fingerprint, eye.dim_latents), *kept)
    assert outdated(place, other.fingerprint) == 12
    assert sum(rebuild(place, other)) == 12
    gallery = open_gallery(place, other.fingerprint, other.dim_latents)
    assert rows(gallery, *kept) == before
    hit = gallery.nearest(other.embed_images([gallery.sample(1)[0].image])[0], 1)[0]
    assert hit.score > 0.9
    with pytest.raises(GalleryError, match="other weights"):
        open_gallery(place, eye.fingerprint, eye.dim_latents)
    assert outdated(place, other.fingerprint) == 0
    assert list(rebuild(place, other)) == []


def test_a_stopped_rebuild_is_refused_and_goes_on(place, other, monkeypatch):
    monkeypatch.setattr("palm_demo.gallery.rebuilding.BATCH", 5)
    begun = rebuild(place, other)
    next(begun)
    begun.close()
    with pytest.raises(GalleryError, match="gallery rebuild"):
        open_gallery(place, other.fingerprint, other.dim_latents)
    seen = []
    embed = other.embed_images
    monkeypatch.setattr(other, "embed_images", lambda images: seen.append(len(images)) or embed(images))
    assert sum(rebuild(place, other)) == 12
    assert sum(seen) == 7
    assert len(open_gallery(place, other.fingerprint, other.dim_latents)) == 12


def test_an_export_has_the_files_and_can_be_added_again(place, new_gallery, eye, folder, tmp_path):
    gallery = new_gallery(place)
    assert sum(export(gallery, tmp_path / "out")) == 12
    written = sorted((tmp_path / "out" / "pictures").iterdir())
    originals = {path.read_bytes() for path in folder.rglob("*.png")}
    assert {path.read_bytes() for path in written if path.suffix == ".png"} == originals
    assert [path.suffix for path in written].count(".webp") == 1  # of a file that has gone: its thumbnail
    assert all(Image.open(path).size for path in written)
    again, files = new_gallery(), find_files(tmp_path / "out")
    add_pictures(again, eye, pictures_of(files), captions_beside(files))
    assert [caption for (caption,) in rows(again, "caption")] == [
        caption for (caption,) in rows(gallery, "caption")
    ]


def test_an_export_of_some_pictures_has_these_alone(place, new_gallery, tmp_path):
    gallery = new_gallery(place)
    chosen = [item.id for item in gallery.sample(3, seed=0)]
    assert sum(export(gallery, tmp_path / "out", chosen)) == 3
    assert {path.stem for path in (tmp_path / "out" / "pictures").iterdir()} == set(chosen)


def test_an_export_leaves_what_is_there_alone(place, new_gallery, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("precious")
    with pytest.raises(GalleryError, match="is not empty"):
        list(export(new_gallery(place), tmp_path / "out"))
