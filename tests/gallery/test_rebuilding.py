"""Rebuilding: other weights see the same pictures; a run that was stopped goes on where it was."""

import errno
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from palm_demo.errors import GalleryError
from palm_demo.gallery import Report, ingest_pictures, open_gallery
from palm_demo.gallery.captions import captions_beside
from palm_demo.gallery.lance import connect
from palm_demo.gallery.maintenance import LEFT_OUT_TABLE, export, export_zip, outdated, rebuild
from palm_demo.gallery.sources import find_files, pictures_of


@pytest.fixture
def place(new_gallery, eye, folder, tmp_path) -> str:
    """A gallery that the first weights made, one of its files linked and gone since."""
    gallery = new_gallery(tmp_path / "gallery")
    files = pictures_of(find_files(folder))
    ingest_pictures(gallery, eye, files[1:])
    ingest_pictures(gallery, eye, files[:1], link=True)
    (folder / files[0].name).unlink()
    return str(tmp_path / "gallery")


@pytest.fixture
def other(eye):
    """Weights that see the same upside down, and one number less."""

    class Other(type(eye)):
        fingerprint, embedding_dim = "eye2", 191

        def embed_images(self, images):
            rows = super().embed_images(images)[:, :0:-1]
            return rows / (rows**2).sum(axis=1, keepdims=True) ** 0.5

    return Other()


def rows(gallery, *columns):
    return sorted(tuple(row.values()) for part in gallery.batches(columns) for row in part.to_pylist())


def test_a_rebuilt_gallery_has_the_same_pictures_and_new_latents(place, eye, other):
    kept = ("id", "name", "caption", "added", "path", "original", "phash")
    before = rows(open_gallery(place, eye.fingerprint, eye.embedding_dim), *kept)
    assert outdated(place, other.fingerprint) == 12
    assert sum(rebuild(place, other)) == 12
    gallery = open_gallery(place, other.fingerprint, other.embedding_dim)
    assert rows(gallery, *kept) == before
    hit = gallery.nearest(other.embed_images([gallery.sample(1)[0].image])[0], 1)[0]
    assert hit.score > 0.9
    with pytest.raises(GalleryError, match="other weights"):
        open_gallery(place, eye.fingerprint, eye.embedding_dim)
    assert outdated(place, other.fingerprint) == 0
    assert list(rebuild(place, other)) == []


def test_a_stopped_rebuild_is_refused_and_goes_on(place, other, monkeypatch):
    monkeypatch.setattr("palm_demo.gallery.maintenance.BATCH", 5)
    begun = rebuild(place, other)
    next(begun)
    begun.close()
    with pytest.raises(GalleryError, match="gallery rebuild"):
        open_gallery(place, other.fingerprint, other.embedding_dim)
    seen = []
    embed = other.embed_images
    monkeypatch.setattr(other, "embed_images", lambda images: seen.append(len(images)) or embed(images))
    assert sum(rebuild(place, other)) == 12
    assert sum(seen) == 7
    assert len(open_gallery(place, other.fingerprint, other.embedding_dim)) == 12


def test_an_export_has_the_files_and_can_be_added_again(place, new_gallery, eye, folder, tmp_path):
    gallery = new_gallery(place)
    assert sum(export(gallery, tmp_path / "out")) == 12
    written = sorted((tmp_path / "out" / "pictures").iterdir())
    originals = {path.read_bytes() for path in folder.rglob("*.png")}
    assert {path.read_bytes() for path in written if path.suffix == ".png"} == originals
    assert [path.suffix for path in written].count(".webp") == 1  # of a file that has gone: its thumbnail
    assert all(Image.open(path).size for path in written)
    again, files = new_gallery(), find_files(tmp_path / "out")
    ingest_pictures(again, eye, pictures_of(files), captions_beside(files))
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


def spoil(gallery, name: str, **values) -> str:
    """Damages what a gallery holds of a picture; its id."""
    id = next(id for id, found in rows(gallery, "id", "name") if found == name)
    gallery.table.update(where=f"id = '{id}'", values=values)
    return id


def test_a_linked_picture_that_no_longer_decodes_is_looked_at_as_its_thumbnail(
    new_gallery, eye, other, folder, tmp_path
):
    gallery = new_gallery(tmp_path / "gallery")
    ingest_pictures(gallery, eye, pictures_of(find_files(folder)), link=True)
    (folder / "01.png").write_text("words")
    (folder / "02.png").write_bytes((folder / "03.png").read_bytes())
    report = Report()
    assert sum(rebuild(str(tmp_path / "gallery"), other, report)) == 12
    assert report.unreadable == []
    told = dict(report.noted)
    assert set(told) == {"01.png", "02.png"}
    assert all("not the file any more" in what and "thumbnail" in what for what in told.values())
    rebuilt = open_gallery(tmp_path / "gallery", other.fingerprint, other.embedding_dim)
    assert len(rebuilt) == 12
    for name in told:
        (id,) = (id for id, found in rows(rebuilt, "id", "name") if found == name)
        with pytest.raises(GalleryError, match="not the file any more"):
            rebuilt.original(id)
        assert rebuilt.remove([id]) == 1


def test_a_picture_that_fails_altogether_is_kept_aside_and_tried_again(place, eye, other):
    gallery = open_gallery(place, eye.fingerprint, eye.embedding_dim)
    id = spoil(gallery, "05.png", thumbnail=b"none", original=b"none")
    before = rows(gallery, "id", "caption", "added")
    for _ in range(2):
        report = Report()
        list(rebuild(place, other, report))
        assert [name for name, _ in report.unreadable] == ["05.png"]
        assert len(report.noted) == len(dict(report.noted))  # what is noted is noted once
        rebuilt = open_gallery(place, other.fingerprint, other.embedding_dim)
        assert len(rebuilt) == 11 and rebuilt.remove(["nobody's"]) == 0
        assert outdated(place, other.fingerprint) == 1
    aside = connect(place).open_table(LEFT_OUT_TABLE)
    assert [row["id"] for row in aside.to_arrow().to_pylist()] == [id]
    aside.update(
        where=f"id = '{id}'",
        values={"thumbnail": next(rebuilt.batches(["thumbnail"]))["thumbnail"][0].as_py()},
    )
    report = Report()
    list(rebuild(place, other, report))
    assert report.unreadable == [] and outdated(place, other.fingerprint) == 0
    assert rows(rebuilt, "id", "caption", "added") == before


def test_a_picture_that_the_model_fails_on_stops_no_rebuild(place, other, monkeypatch):
    real = other.embed_images

    def fail(images):
        if len(images) > 1 or fail.left:
            fail.left -= len(images) == 1
            raise KeyError("of a kind that nobody listed")
        return real(images)

    fail.left = 1
    monkeypatch.setattr(other, "embed_images", fail)
    report = Report()
    assert sum(rebuild(place, other, report)) == 12
    assert len(report.unreadable) == 1
    assert len(open_gallery(place, other.fingerprint, other.embedding_dim)) == 11


def test_an_export_leaves_out_what_cannot_be_written_and_says_so(place, new_gallery, tmp_path):
    gallery, report = new_gallery(place), Report()
    spoil(gallery, "05.png", original=b"none")
    gone = spoil(gallery, "06.png", original=b"none", thumbnail=b"none")
    assert sum(export(gallery, tmp_path / "out", report=report)) == 11
    assert [name for name, _ in report.unreadable] == ["06.png"]
    assert {name for name, _ in report.noted} == {"00.png", "05.png"}
    written = pq.read_table(tmp_path / "out" / "metadata.parquet")
    assert len(written) == 11 and gone not in written["id"].to_pylist()
    assert all((tmp_path / "out" / name).exists() for name in written["file_name"].to_pylist())


@pytest.mark.parametrize("there", [True, False])
def test_an_export_that_breaks_off_leaves_nothing_and_a_whole_one_leaves_nothing_else(
    place, new_gallery, tmp_path, monkeypatch, there
):
    gallery, out = new_gallery(place), tmp_path / "outer" / "out"
    if there:
        out.mkdir(parents=True)
    monkeypatch.setattr(
        "palm_demo.gallery.store.Gallery.batches", parts_that_end(gallery, GalleryError("gone"))
    )
    with pytest.raises(GalleryError, match="gone"):
        list(export(gallery, out))
    begun = export(gallery, out)
    next(begun)
    begun.close()
    assert [*out.parent.rglob("*")] == there * [out]
    monkeypatch.undo()
    list(export(gallery, out))
    assert sorted(path.name for path in out.iterdir()) == ["metadata.parquet", "pictures"]
    assert [*out.parent.iterdir()] == [out]


def parts_that_end(gallery, error):
    """`batches` that gives one part and then the error."""
    real = gallery.batches

    def batches(self, columns, size=256, ids=None):
        yield next(real(columns, 4))
        raise error

    return batches


def test_a_disk_that_is_full_is_told_and_leaves_no_half_export(place, new_gallery, tmp_path, monkeypatch):
    gallery, real, left = new_gallery(place), Path.write_bytes, iter([1, 1, 1])

    def write_bytes(path, data):
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(GalleryError, match=r"out cannot be written \(No space left on device\)"):
        list(export(gallery, tmp_path / "out"))
    assert not (tmp_path / "out").exists() and not [*tmp_path.glob(".out*")]
    with pytest.raises(GalleryError, match="none of these pictures"):
        export_zip(gallery, tmp_path / "a.zip", ["nobody's"])
    assert not [*tmp_path.glob("a.zip*")]


def test_an_archive_says_what_is_missing_in_it(place, new_gallery, tmp_path):
    gallery = new_gallery(place)
    whole = [id for id, name in rows(gallery, "id", "name") if name in ("03.png", "04.png")]
    export_zip(gallery, tmp_path / "whole.zip", whole)
    spoilt = spoil(gallery, "06.png", original=b"none", thumbnail=b"none")
    export_zip(gallery, tmp_path / "part.zip", [whole[0], spoilt, "0" * 64])
    with zipfile.ZipFile(tmp_path / "whole.zip") as archive:
        assert sorted(archive.namelist()) == [
            "metadata.parquet",
            *sorted(f"pictures/{id}.png" for id in whole),
        ]
    with zipfile.ZipFile(tmp_path / "part.zip") as archive:
        missing, broken = archive.read("left_out.txt").decode().splitlines()
        assert len(archive.namelist()) == 3
    assert missing == f"{'0' * 64} is not in the gallery any more" and broken.startswith("06.png: ")
    with pytest.raises(GalleryError, match=r"06\.png"):
        export_zip(gallery, tmp_path / "none.zip", [spoilt])
    assert not (tmp_path / "none.zip").exists()
