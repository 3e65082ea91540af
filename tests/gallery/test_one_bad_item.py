"""One bad item is a line of the report, whatever is wrong with it; the others go in, and again go on."""

import io
import json
import os
import struct
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from palm_demo.errors import DeviceMemoryError, GalleryError, MediaError
from palm_demo.gallery import Report, add_pictures, archives, sources
from palm_demo.gallery.adding import BATCH
from palm_demo.gallery.captions import captions_beside
from palm_demo.gallery.report import each
from palm_demo.gallery.sources import Source, find_files, pictures_of
from tests.gallery.conftest import noise


def add(gallery, eye, place, **options):
    report = Report()
    files = find_files(place)
    captions = captions_beside(files, report)
    report.extend(add_pictures(gallery, eye, pictures_of(files), captions, **options))
    return report


def png(seed: int) -> bytes:
    file = io.BytesIO()
    noise(seed).save(file, "PNG")
    return file.getvalue()


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
    monkeypatch.setattr("palm_demo.gallery.adding.BATCH", 1)
    place = new_archive(*((f"{seed}.png", png(seed)) for seed in range(4)))
    whole, gallery = place.read_bytes(), new_gallery()
    steps = iter((lambda: place.write_bytes(whole[: len(whole) // 2]), place.unlink, int, int))

    def cut(count):
        next(steps)()

    report = add_pictures(gallery, eye, find_files(place), tell=cut)
    assert (len(report.added), len(report.unreadable)) == (1, 3)
    place.write_bytes(whole)
    again = add(gallery, eye, place)
    assert (len(again.known), len(again.added), again.unreadable) == (1, 3, [])


def test_too_many_members_are_refused_before_any_is_read(new_archive, monkeypatch):
    monkeypatch.setattr(archives, "MEMBERS", 10)
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
    assert "no regular file" in report.unreadable[0][1]
    with pytest.raises(MediaError, match="no regular file"):
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


# captions


def test_rows_that_are_wrong_are_lines_and_numbers_are_captions(folder):
    lines = [
        {"file_name": "00.png", "caption": 7},
        {"caption": "whose?"},
        {"file_name": "01.png", "caption": ["a", "list"]},
        {"file_name": "02.png", "caption": "fine"},
        {"file_name": 3, "caption": "x"},
        {"file_name": "03.png", "caption": None},
        {"file_name": "04.png", "caption": "half \ud800"},
    ]
    text = "\n".join([*map(json.dumps, lines), "{broken", '"no row"', "[" * 100_000])
    (folder / "metadata.jsonl").write_text(text)
    report = Report()
    found = captions_beside(find_files(folder), report)
    assert found == {"00.png": "7", "02.png": "fine", "04.png": "half \\ud800"}
    numbers = [int(why.split()[1]) for _, why in report.unreadable]
    assert numbers == [2, 3, 5, 8, 9, 10]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "00.txt"])
def test_captions_are_read_in_the_encodings_that_programs_write(folder, encoding, name):
    content = {
        "metadata.csv": "file_name,caption\r\n00.png,grün\r\n",
        "metadata.jsonl": '{"file_name": "00.png", "caption": "grün"}\n',
        "00.txt": "grün\r\n",
    }[name]
    (folder / name).write_bytes(content.encode(encoding))
    assert captions_beside(find_files(folder)) == {"00.png": "grün"}


def test_the_text_beside_a_picture_counts_before_tables_and_the_nearest_table_before_others(folder):
    (folder / "metadata.csv").write_text("file_name,caption\n00.png,csv\n01.png,csv\nmore/10.png,far\n")
    (folder / "metadata.jsonl").write_text('{"file_name": "01.png", "caption": "jsonl"}')
    (folder / "more" / "metadata.csv").write_text("file_name,caption\n10.png,near\n")
    (folder / "00.txt").write_text("beside")
    found = captions_beside(find_files(folder))
    assert found == {"00.png": "beside", "01.png": "csv", "more/10.png": "near"}


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"\x00" * 100, b"PAR1" + b"\xff" * 40 + b"PAR1", None], ids=repr
)
def test_a_table_that_is_none_is_a_line_and_the_pictures_go_in(new_gallery, eye, folder, content):
    path = folder / "metadata.parquet"
    if content is None:
        pa.parquet.write_table(pa.table({"other": [1, 2]}), path)
    else:
        path.write_bytes(content)
    report = add(new_gallery(), eye, folder)
    assert [name for name, _ in report.unreadable] == ["metadata.parquet"]
    assert len(report.added) == 12


def test_a_row_of_a_csv_that_is_too_long_is_a_line(folder):
    long = "x" * 200_000
    (folder / "metadata.csv").write_text(f"file_name,caption\n00.png,{long}\n01.png,fine\n")
    report = Report()
    assert captions_beside(find_files(folder), report) == {"01.png": "fine"}
    assert len(report.unreadable) == 1


def test_of_a_text_as_long_as_a_book_the_beginning_is_read(folder, monkeypatch):
    (folder / "00.txt").write_text("wörter " * 1_000_000)
    asked = []
    read = Source.read
    monkeypatch.setattr(Source, "read", lambda file, most=None: asked.append(most) or read(file, most))
    assert len(captions_beside(find_files(folder))["00.png"]) <= 1000
    assert asked and max(asked) < 100_000


def test_a_picture_of_too_many_bytes_is_read_no_further(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "FILE_BYTES", 1000)
    (tmp_path / "a.png").write_bytes(bytes(5000))
    with pytest.raises(MediaError, match="more than 1,000 bytes"):
        Source(tmp_path, "a.png").read()
