"""Adding: copies are skipped, bad files reported, a stopped run goes on, hostile archives are refused."""

import io
import random
import threading
import zipfile
from dataclasses import replace

import pytest
from PIL import Image

from palm_demo import world
from palm_demo.errors import GalleryError, MediaError
from palm_demo.gallery import MEMORY, Report, ingest, open_gallery, sources
from palm_demo.gallery.captions import captions_beside
from palm_demo.gallery.sources import Source, find_files
from tests.gallery.conftest import add, noise

PATIENCE_SECONDS = 60
"""For what happens within a moment on an idle machine."""


def zipped(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


def test_a_folder_goes_in_with_the_folders_in_it(new_gallery, eye, folder):
    gallery = new_gallery()
    report = add(gallery, eye, folder)
    assert len(report.added) == len(gallery) == 12
    picture = Image.open(folder / "more" / "10.png")
    hit = gallery.nearest(eye.embed_images([picture])[0], 1)[0]
    assert (hit.name, hit.score) == ("more/10.png", pytest.approx(1, abs=1e-5))
    assert hit.caption == eye.captions([picture])[0]
    assert gallery.original(hit.id) == (folder / "more" / "10.png").read_bytes()


def test_an_archive_gives_what_its_folder_gives(new_gallery, eye, folder, tmp_path):
    first, second = new_gallery(), new_gallery()
    assert add(first, eye, folder).added == add(second, eye, zipped(folder, tmp_path / "a.zip")).added


def test_what_is_in_already_is_skipped(new_gallery, eye, folder):
    gallery = new_gallery()
    add(gallery, eye, folder)
    again = add(gallery, eye, folder)
    assert (again.added, len(again.known)) == ([], 12)


def test_a_stopped_run_goes_on_where_it_was(new_gallery, eye, folder, monkeypatch):
    monkeypatch.setattr("palm_demo.gallery.ingest.BATCH", 5)
    gallery, done = new_gallery(), []

    def stop_at_the_second(count):
        done.append(count)
        if len(done) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add(gallery, eye, folder, on_progress=stop_at_the_second)
    assert len(gallery) == 10
    report = add(gallery, eye, folder)
    assert (len(report.known), len(report.added), len(gallery)) == (10, 2, 12)


def test_the_same_file_twice_and_a_copy_saved_anew_are_skipped(new_gallery, eye, folder):
    original = folder / "00.png"
    (folder / "zz-same.png").write_bytes(original.read_bytes())
    Image.open(original).save(folder / "zz-anew.jpg", quality=90)
    report = add(new_gallery(), eye, folder)
    assert report.known == ["zz-same.png"]
    assert [name for name, _ in report.near] == ["zz-anew.jpg"]
    assert report.near[0][1] in report.added


def test_a_copy_of_what_went_in_earlier_is_skipped_too(new_gallery, eye, folder, tmp_path):
    gallery = new_gallery()
    add(gallery, eye, folder)
    (tmp_path / "later").mkdir()
    Image.open(folder / "07.png").resize((48, 48)).save(tmp_path / "later" / "small.png")
    assert [name for name, _ in add(gallery, eye, tmp_path / "later").near] == ["small.png"]


def test_drawings_that_differ_in_colour_or_place_are_no_copies(session, tmp_path):
    """With the bundled weights, on whose embeddings the limits were measured."""
    scene = world.single_scene(random.Random(3), color="blue")
    thing = scene.things[0]
    other = world.single_scene(random.Random(4), color="yellow").background
    pictures = {
        "a": world.render(scene, 192),
        "b": world.render(replace(scene, background=other), 192),
        "c": world.render(replace(scene, things=(replace(thing, x=1 - thing.x, mirror=True),)), 192),
        "d": world.render(scene, 192).resize((128, 128)),
    }
    for name, picture in pictures.items():
        picture.save(tmp_path / f"{name}.png")
    gallery = open_gallery(MEMORY, session.mammut.fingerprint, session.mammut.embedding_dim)
    report = add(gallery, session, tmp_path)
    assert [name for name, _ in report.near] == ["d.png"]
    assert len(report.added) == 3


def test_files_that_cannot_be_read_are_named_with_the_reason(new_gallery, eye, folder, monkeypatch):
    monkeypatch.setattr(sources, "FILE_BYTES", 50_000)
    (folder / "text.png").write_text("words")
    (folder / "cut.png").write_bytes((folder / "00.png").read_bytes()[:500])
    (folder / "large.png").write_bytes(bytes(50_001))
    (folder / "notes.md").write_text("not even called like a picture")
    (folder / "nowhere.png").symlink_to("/nowhere")
    report = add(new_gallery(), eye, folder)
    reasons = dict(report.unreadable)
    assert set(reasons) == {"text.png", "cut.png", "large.png", "nowhere.png"}
    assert "leads nowhere" in reasons["nowhere.png"]
    assert "not a picture" in reasons["text.png"]
    assert "damaged" in reasons["cut.png"]
    assert "more than 50,000 bytes" in reasons["large.png"]
    assert len(report.added) == 12


def test_linked_pictures_stay_where_they_are(new_gallery, eye, folder):
    gallery = new_gallery()
    add(gallery, eye, folder, link=True)
    kept = next(gallery.batches(["path", "original"])).to_pylist()
    assert {row["original"] for row in kept} == {None}
    assert sorted(row["path"] for row in kept) == sorted(str(p.resolve()) for p in folder.rglob("*.png"))
    hit = gallery.nearest(eye.embed_images([Image.open(folder / "03.png")])[0], 1)[0]
    assert gallery.original(hit.id) == (folder / "03.png").read_bytes()
    (folder / "03.png").unlink()
    with pytest.raises(GalleryError, match=r"03.png is no longer at"):
        gallery.original(hit.id)


def test_a_phone_picture_is_held_small_and_kept_whole(new_gallery, eye, tmp_path, monkeypatch):
    noise(1, 4000).crop((0, 0, 4000, 3000)).save(tmp_path / "phone.jpg")
    held, real = [], eye.embed_images
    monkeypatch.setattr(
        eye, "embed_images", lambda images: held.extend(image.size for image in images) or real(images)
    )
    gallery = new_gallery()
    (id,) = add(gallery, eye, tmp_path).added
    assert held == [(1024, 768)]
    assert gallery.original(id) == (tmp_path / "phone.jpg").read_bytes()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metadata.csv", "file_name,caption\n00.png,mine\nmore/10.png,deep\n"),
        (
            "metadata.jsonl",
            '{"file_name": "00.png", "text": "mine"}\n{"file_name": "more/10.png", "text": "deep"}\n',
        ),
        ("00.txt", " mine\n"),
        ("more/metadata.csv", "caption,file_name\ndeep,10.png\n"),
    ],
)
def test_captions_beside_the_pictures_are_taken(folder, name, content):
    (folder / name).write_text(content)
    expected = {"00.png": "mine", "more/10.png": "deep"}
    found = captions_beside(find_files(folder))
    assert found
    assert found.items() <= expected.items()
    assert len(found) == 1 + ("more/10" in content)


def test_a_picture_with_a_caption_is_not_described(new_gallery, eye, folder):
    (folder / "00.txt").write_text("mine")
    gallery = new_gallery()
    add(gallery, eye, folder)
    found = {row["name"]: row["caption"] for row in next(gallery.batches(["name", "caption"])).to_pylist()}
    assert found["00.png"] == "mine"
    assert found["01.png"].startswith("seen ")


def test_a_table_of_captions_without_the_columns_is_a_line_of_the_report(folder):
    (folder / "metadata.csv").write_text("picture,words\n00.png,mine\n")
    (folder / "01.txt").write_text("yours")
    report = Report()
    assert captions_beside(find_files(folder), report) == {"01.png": "yours"}
    ((name, why),) = report.unreadable
    assert name == "metadata.csv"
    assert "columns picture, words" in why and "captions of the model" in why


@pytest.mark.parametrize(
    "name", ["../out.png", "/etc/out.png", "a/../../out.png", "..\\out.png", "C:/out.png"]
)
def test_an_archive_with_a_name_that_leads_out_is_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(GalleryError, match="leads out of the archive"):
        find_files(tmp_path / "bad.zip")


def test_a_zip_bomb_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "ARCHIVE_BYTES", 1_000_000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(2_000_000))
    with pytest.raises(GalleryError, match="would unpack to 2,000,000"):
        find_files(tmp_path / "bomb.zip")


def test_a_member_that_says_it_is_small_is_read_no_further_than_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "FILE_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(5000))
    with pytest.raises(MediaError, match="more than 1,000 bytes"):
        Source(tmp_path / "a.zip", "a.png").read()


def test_a_locked_member_is_reported(new_gallery, eye, tmp_path):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("a.png", b"x" * 100)
    locked = bytearray(data.getvalue())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        locked[locked.index(signature) + offset] |= 1
    (tmp_path / "a.zip").write_bytes(locked)
    report = add(new_gallery(), eye, tmp_path / "a.zip")
    assert "encrypted" in dict(report.unreadable)["a.png"]


def test_a_place_that_is_neither_folder_nor_archive_is_refused(tmp_path):
    (tmp_path / "text").write_text("words")
    with pytest.raises(GalleryError, match="neither a folder nor a ZIP archive"):
        find_files(tmp_path / "text")
    with pytest.raises(GalleryError, match="there is no"):
        find_files(tmp_path / "nothing")


def test_the_next_pictures_are_decoded_while_some_are_looked_at(new_gallery, eye, tmp_path, monkeypatch):
    monkeypatch.setattr(ingest, "BATCH", 2)
    for seed in range(6):
        noise(seed).save(tmp_path / f"{seed:02}.png")
    decoded, read_files = [threading.Event() for _ in range(3)], ingest.read_files
    batches, looked_at = iter(decoded), []

    def watched(files, *given):
        read = read_files(files, *given)
        next(batches).set()
        return read

    class Waiting(type(eye)):
        def embed_and_caption(self, images):
            looked_at.append(len(images))
            if len(looked_at) < 3:
                assert decoded[len(looked_at)].wait(PATIENCE_SECONDS)
            return super().embed_and_caption(images)

    monkeypatch.setattr(ingest, "read_files", watched)
    report = add(new_gallery(), Waiting(), tmp_path)
    assert len(report.added) == 6 and looked_at == [2, 2, 2]


def test_what_is_computed_ahead_comes_in_order_with_its_errors_in_their_place():
    assert list(ingest.one_ahead(str, [])) == []
    results = ingest.one_ahead(lambda number: 6 // number, [3, 2, 1, 0, 5])
    assert [next(results) for _ in range(3)] == [2, 3, 6]
    with pytest.raises(ZeroDivisionError):
        next(results)
