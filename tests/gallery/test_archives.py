"""Archives: what is wrong with one member is a line of the report, and the others go in."""

import io
import struct
import zipfile

import numpy as np
import pytest

from palm_demo.errors import GalleryError, MediaError
from palm_demo.gallery import ingest_pictures, sources
from palm_demo.gallery.sources import find_files
from tests.gallery.conftest import add, png


@pytest.fixture
def new_archive(tmp_path):
    """An archive of members (name or ZipInfo, bytes)."""

    def new(*members, name="a.zip"):
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, data in members:
                archive.writestr(member, data)
        return tmp_path / name

    return new


def spoil_data(place, name):
    """Writes over the middle of a member's compressed bytes."""
    with zipfile.ZipFile(place) as archive:
        member = archive.getinfo(name)
    data = bytearray(place.read_bytes())
    start = member.header_offset + 30 + len(name) + member.compress_size // 3
    data[start : start + 40] = b"\xff" * 40
    place.write_bytes(data)


def test_a_corrupt_member_is_a_line_and_the_others_go_in(new_gallery, eye, new_archive):
    place = new_archive(("0.png", png(0)), ("1.png", png(1)), ("2.png", png(2)))
    spoil_data(place, "1.png")
    gallery = new_gallery()
    report = add(gallery, eye, place)
    ((name, why),) = report.unreadable
    assert name == "1.png" and "cannot be read" in why and "save it anew" in why
    assert len(report.added) == len(gallery) == 2


@pytest.mark.parametrize(
    ("name", "count"),
    [
        (".", 1),
        ("./", 1),
        ("a.", 1),
        ("..png", 2),
        ("a//b.png", 2),
        ("a/./c.png", 2),
        ("10:30.png", 2),
        ("\n.png", 2),
    ],
)
def test_a_member_with_an_odd_name_stops_nothing(new_gallery, eye, new_archive, name, count):
    report = add(new_gallery(), eye, new_archive((name, png(0)), ("fine.png", png(1))))
    assert (len(report.added), report.unreadable) == (count, [])


def test_names_that_are_no_utf8_are_read_with_the_letters_that_zip_gives_them(new_gallery, eye, new_archive):
    place = new_archive(("caf\u00e9.png", png(0)), ("gr\u00fcn.png", png(1)), ("plain.png", png(2)))
    data = place.read_bytes()
    place.write_bytes(data.replace("caf\u00e9".encode(), b"caf\xe9\xff"))
    with pytest.raises(UnicodeDecodeError):
        zipfile.ZipFile(place)
    gallery = new_gallery()
    assert len(add(gallery, eye, place).added) == 3
    names = {item.name for item in gallery.sample(3)}
    assert {"gr\u00fcn.png", "plain.png"} < names


def test_links_and_locked_members_and_folders_in_an_archive_are_told(new_gallery, eye, new_archive):
    link = zipfile.ZipInfo("link.png")
    link.external_attr = 0o120777 << 16
    folder = zipfile.ZipInfo("folder.png/")
    report = add(new_gallery(), eye, new_archive((link, "0.png"), (folder, b""), ("0.png", png(0))))
    assert report.unreadable[0][0] == "link.png" and "is a link" in report.unreadable[0][1]
    assert len(report.added) == len(report.unreadable) == 1


def test_two_members_of_one_name_are_both_read(new_gallery, eye, new_archive):
    with pytest.warns(UserWarning, match="Duplicate name"):
        place = new_archive(("0.png", png(0)), ("0.png", png(1)))
    assert len(add(new_gallery(), eye, place).added) == 2


def test_an_archive_within_an_archive_and_an_unknown_packing_are_told(new_gallery, eye, new_archive):
    place = new_archive(("in.zip", b"x"), ("0.png", png(0)), ("1.png", png(1)))
    data = bytearray(place.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = data.index(b"1.png", data.index(signature)) - (30 if offset == 8 else 46)
        while data[at : at + 4] != signature:
            at = data.index(b"1.png", at + 60) - (30 if offset == 8 else 46)
        data[at + offset : at + offset + 2] = struct.pack("<H", 77)
    place.write_bytes(data)
    report = add(new_gallery(), eye, place)
    assert [name for name, _ in report.unreadable] == ["1.png"]
    assert len(report.added) == 1


def test_a_new_archive_at_the_same_place_is_read_anew(new_archive):
    first = find_files(new_archive(("0.png", png(0)), ("1.png", png(1))))
    second = find_files(new_archive(("0.png", png(5))))
    assert second[0].read() == png(5)
    with pytest.raises(MediaError, match="not the archive any more"):
        first[1].read()


def test_an_archive_that_is_cut_or_goes_while_it_is_read_is_a_line_each(
    new_gallery, eye, new_archive, monkeypatch
):
    monkeypatch.setattr("palm_demo.gallery.ingest.BATCH", 1)
    place = new_archive(*((f"{seed}.png", png(seed)) for seed in range(4)))
    whole, gallery = place.read_bytes(), new_gallery()
    steps = iter((lambda: place.write_bytes(whole[: len(whole) // 2]), place.unlink, int, int))

    def cut(count):
        next(steps)()

    report = ingest_pictures(gallery, eye, find_files(place), on_progress=cut)
    added = len(report.added)
    assert added in (1, 2)  # a second one may have been read before the archive was cut
    assert len(report.unreadable) == 4 - added
    place.write_bytes(whole)
    again = add(gallery, eye, place)
    assert (len(again.known), len(again.added), again.unreadable) == (added, 4 - added, [])


def test_too_many_members_are_refused_before_any_is_read(new_archive, monkeypatch):
    monkeypatch.setattr(sources, "MEMBERS", 10)
    with pytest.raises(GalleryError, match="over 10 files"):
        find_files(new_archive(*((f"{n}.png", b"") for n in range(11))))


def test_any_file_named_like_an_archive_is_read_or_refused(tmp_path):
    good = io.BytesIO()
    with zipfile.ZipFile(good, "w") as archive:
        archive.writestr("a.png", b"x" * 50)
    chance = np.random.default_rng(0)
    for _ in range(300):
        data = bytearray(good.getvalue())
        for at in chance.integers(0, len(data), 3):
            data[at] = chance.integers(256)
        (tmp_path / "a.zip").write_bytes(data[: chance.integers(1, len(data) + 1)])
        try:
            files = find_files(tmp_path / "a.zip")
        except GalleryError:
            continue
        for file in files:
            try:
                file.read()
            except MediaError:
                continue
