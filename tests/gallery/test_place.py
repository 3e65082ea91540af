"""Where the page's gallery lies."""

import logging

from palm_demo.gallery import MEMORY, chosen_place


def test_what_was_named_is_the_place(tmp_path):
    assert chosen_place("s3://bucket/folder", tmp_path / "default") == "s3://bucket/folder"
    assert not (tmp_path / "default").exists()


def test_by_default_it_is_a_folder_beside_the_app(tmp_path):
    assert chosen_place(None, tmp_path / "default") == str(tmp_path / "default")
    assert chosen_place("", tmp_path / "default") == str(tmp_path / "default")


def test_where_that_cannot_be_written_it_is_memory_and_the_log_says_so(tmp_path, caplog):
    (tmp_path / "file").write_text("no folder")
    with caplog.at_level(logging.WARNING):
        assert chosen_place(None, tmp_path / "file" / "gallery") == MEMORY
    assert "kept in memory" in caplog.text
