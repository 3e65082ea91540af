"""What a gallery relies on of LanceDB that its documentation does not promise: each fact by itself, so that a
release that changes one says which."""

from datetime import timedelta
from pathlib import Path

import lancedb
import pyarrow as pa
import pytest
from lancedb.index import FTS, BTree

from palm_demo.errors import GalleryError
from palm_demo.gallery import MEMORY, lance
from palm_demo.gallery.rows import KEY, KEY_MARK

FORM = pa.schema(
    [
        pa.field(KEY, pa.string(), nullable=False, metadata={KEY_MARK: b"true"}),
        pa.field("caption", pa.string(), nullable=False),
    ]
)


def rows(*numbers: int) -> pa.Table:
    return pa.table({KEY: [str(n) for n in numbers], "caption": [f"picture {n}" for n in numbers]}, FORM)


@pytest.fixture
def place(tmp_path) -> str:
    return str(tmp_path / "gallery")


@pytest.fixture
def table(place):
    return lance.create(lance.connect_to_write(place), "pictures", FORM, rows(1, 2, 3))


def again(place: str):
    """Another handle, as another process has one."""
    return lance.connect(place).open_table("pictures")


def test_connecting_makes_a_folder_and_reading_does_not_connect_where_there_is_none(tmp_path):
    lancedb.connect(tmp_path / "made")
    assert (tmp_path / "made").is_dir()
    assert lance.connect(str(tmp_path / "not made")) is None
    assert not (tmp_path / "not made").exists()
    assert lance.connect(MEMORY) is not None


def test_a_table_is_made_with_its_rows_in_one_commit_and_left_alone_when_it_is_there(place, table):
    assert (table.version, table.count_rows()) == (1, 3)
    assert lance.create(lance.connect(place), "pictures", FORM, rows(7)).count_rows() == 3


def test_a_table_whose_first_commit_is_missing_has_a_name_and_is_made_anew(place):
    database = lance.connect_to_write(place)
    (Path(place) / "pictures.lance" / "data").mkdir(parents=True)  # as one that another is just creating
    assert lance.table_names(database) == ["pictures"]
    with pytest.raises(ValueError, match=lance.NO_TABLE):
        database.open_table("pictures")
    assert lance.create(database, "pictures", FORM, rows(1, 2)).count_rows() == 2


def test_the_mark_of_the_key_is_kept_and_set_on_tables_without_it(place, table):
    assert lance.keyed(table) and lance.keyed(again(place))
    plain = pa.schema([field.remove_metadata() for field in FORM])
    bare = lance.create(lance.connect(place), "bare", plain)
    assert not lance.keyed(bare)
    bare.set_unenforced_primary_key(KEY)
    assert lance.keyed(bare)


def test_a_commit_that_brings_what_another_has_just_brought_is_merged_anew(place, table):
    """Both handles read the version before either wrote."""
    table.create_index(KEY, config=BTree())
    first, second = again(place), again(place)
    assert lance.insert_new(first, rows(4, 5)) == 2
    assert lance.insert_new(second, rows(4, 5, 6)) == 1
    table.checkout_latest()
    assert sorted(table.to_arrow()[KEY].to_pylist()) == list("123456")


def test_a_lost_race_is_told_by_words_that_are_known(place, table):
    index, files = again(place), again(place)
    assert index.version == 1
    table.create_index("caption", config=FTS())
    for number in range(10, 13):
        lance.insert_new(table, rows(number))
    assert files.checkout_latest() is None and files.version == table.version
    table.optimize(cleanup_older_than=timedelta(days=1))
    for lose in (lambda: index.create_index("caption", config=FTS()), files.optimize):
        with pytest.raises(RuntimeError) as lost:
            lose()
        assert any(words in str(lost.value).lower() for words in lance.LOST_RACE)


def test_a_version_that_was_let_go_is_not_found_by_a_name_that_is_known(place, table):
    stale = again(place)
    for number in range(10, 14):
        lance.insert_new(table, rows(number))
    table.optimize(cleanup_older_than=timedelta(0))
    with pytest.raises(RuntimeError) as gone:
        stale.to_arrow()
    assert any(words in str(gone.value).lower() for words in lance.OUTDATED)
    assert lance.retry(place, stale, lambda newest: newest.count_rows()) == 7


def test_statistics_have_what_tidying_is_decided_by(table):
    stats = table.stats()
    assert stats["num_rows"] == 3 and stats["total_bytes"] > 0
    assert stats["fragment_stats"]["num_fragments"] == 1
    assert stats["fragment_stats"]["lengths"]["max"] == 3


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("lance error: Retryable commit conflict for version 9", lance.ATTEMPTS),
        ("lance error: Not found: x.lance", lance.ATTEMPTS_TO_FIND),
        ("lance error: no such column", 1),
    ],
)
def test_an_operation_is_tried_again_after_a_lost_race_and_no_other_error(table, monkeypatch, told, expected):
    monkeypatch.setattr(lance, "FIRST_WAIT_SECONDS", 0)
    tries = []

    def lose(newest):
        tries.append(newest)
        raise RuntimeError(told)

    with pytest.raises(GalleryError):
        lance.retry("there", table, lose)
    assert len(tries) == expected


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (OSError(28, "No space left on device"), "free some"),
        (RuntimeError("LanceError(IO): File too large (os error 27), /root/x.rs:1"), "free some"),
        (PermissionError(13, "Permission denied"), "may write there"),
        (OSError(30, "Read-only file system"), "may write there"),
        (RuntimeError("Retryable commit conflict"), "in a moment"),
        (RuntimeError("something else"), "holds a gallery"),
    ],
)
def test_each_kind_of_error_has_its_remedy_and_no_path_of_sources(error, remedy):
    with pytest.raises(GalleryError, match=remedy) as told, lance.explained("there"):
        raise error
    assert "the gallery in there" in str(told.value) and "/root" not in str(told.value)
