"""Captions beside pictures: odd encodings are read, and what is wrong with a row or a table is told."""

import json

import pyarrow as pa
import pyarrow.parquet
import pytest

from palm_demo.gallery import Report
from palm_demo.gallery.captions import captions_beside
from palm_demo.gallery.sources import Source, find_files
from tests.gallery.conftest import add


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
