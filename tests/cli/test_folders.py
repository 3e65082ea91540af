"""Folders of pictures: `caption DIR --csv FILE` and `embed DIR --parquet FILE`."""

import csv
import json
import random
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import palm_demo
from palm_demo import world
from palm_demo.cli import folders
from palm_demo.commands import LEFT_OUT
from palm_demo.errors import BusyError
from palm_demo.gallery.pictures import content_id

TABLES = [("caption", "--csv"), ("embed", "--parquet")]


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three drawings, one of them in a folder of its own, a text, and one that is only called a picture."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    for place, name in enumerate(("a.png", "b.png", "more/c.png")):
        world.render(world.single_scene(random.Random(place)), 96).save(folder / name)
    (folder / "text.png").write_text("words")
    (folder / "notes.txt").write_text("words")
    return folder


@pytest.fixture
def drawings(folder) -> list[Path]:
    return [folder / "a.png", folder / "b.png", folder / "more" / "c.png"]


def rows_of(table: Path) -> list[dict]:
    with open(table, encoding="utf-8", newline="") as file:
        return [*csv.DictReader(file)]


def test_captions_of_a_folder_go_into_a_table_with_what_failed(invoke, session, folder, drawings, tmp_path):
    table = tmp_path / "out.csv"
    ended = invoke("caption", folder, "--csv", table)
    assert ended.exit_code == LEFT_OUT
    assert ended.stdout.startswith(f"3 pictures done; {table} has 3\n1 could not be read:\n")
    rows = rows_of(table)
    said = {row["path"]: row["caption"] for row in rows if not row["error"]}
    assert said == {str(path): session.caption(path) for path in drawings}
    (failed,) = [row for row in rows if row["error"]]
    assert failed["path"] == str(folder / "text.png") and failed["caption"] == ""
    assert {row["fingerprint"] for row in rows} == {session.mammut.fingerprint}


def test_captions_go_on_where_a_run_was_interrupted(invoke, session, folder, drawings, tmp_path, monkeypatch):
    table, asked, real = tmp_path / "out.csv", [], session.captions

    def watched(images, **settings):
        asked.extend(images)
        return real(images, **settings)

    def interrupted(images, **settings):
        if images and asked:
            raise KeyboardInterrupt
        return watched(images, **settings)

    (folder / "text.png").unlink()
    monkeypatch.setattr(folders, "BATCH", 1)
    monkeypatch.setattr(session, "captions", interrupted)
    ended = invoke("caption", folder, "--csv", table)
    assert ended.exit_code == 130 and "what was done is kept" in ended.stderr
    (kept,) = rows_of(table)
    with open(table, "a") as file:
        file.write(f'{drawings[1]},"half a capt')  # as if it had been killed while it wrote
    asked.clear()
    monkeypatch.setattr(session, "captions", watched)
    ended = invoke("caption", folder, "--csv", table)
    assert ended.exit_code == 0
    assert ended.stdout == f"2 pictures done; {table} has 3\nalready there: 1\n"
    assert len(asked) == 2 and rows_of(table)[0] == kept
    assert {row["path"] for row in rows_of(table)} == {str(path) for path in drawings}


def test_a_row_that_was_cut_off_in_its_last_column_is_written_again(run, session, folder, drawings, tmp_path):
    table = tmp_path / "out.csv"
    run("caption", *drawings, "--csv", table)
    table.write_bytes(table.read_bytes()[:-5])
    assert run("caption", *drawings, "--csv", table).startswith(f"1 picture done; {table} has 3\n")
    assert [row["fingerprint"] for row in rows_of(table)] == 3 * [session.mammut.fingerprint]


def test_pictures_that_failed_are_tried_again(invoke, folder, drawings, tmp_path):
    table = tmp_path / "out.csv"
    invoke("caption", folder, "--csv", table)
    (folder / "text.png").write_bytes(drawings[0].read_bytes())
    ended = invoke("caption", folder, "--csv", table, "--json")
    assert ended.exit_code == 0
    told = {"table": str(table), "done": 1, "kept": 3, "unreadable": [], "noted": []}
    assert json.loads(ended.stdout) == told
    assert not any(row["error"] for row in rows_of(table)) and len(rows_of(table)) == 4


def test_a_run_over_other_pictures_keeps_those_that_failed(invoke, folder, drawings, tmp_path):
    table = tmp_path / "out.csv"
    invoke("caption", folder, "--csv", table)
    assert invoke("caption", drawings[0], "--csv", table).exit_code == 0
    assert [row["path"] for row in rows_of(table) if row["error"]] == [str(folder / "text.png")]
    (folder / "text.png").write_bytes(drawings[0].read_bytes())
    assert invoke("caption", folder, "--csv", table).stdout.startswith("1 picture done")
    assert not any(row["error"] for row in rows_of(table)) and len(rows_of(table)) == 4
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_embeddings_are_unit_rows_with_ids_paths_and_fingerprint(invoke, session, folder, drawings, tmp_path):
    table = tmp_path / "out.parquet"
    ended = invoke("embed", folder, "--parquet", table)
    assert ended.exit_code == LEFT_OUT and "text.png" in ended.stdout
    found = pq.read_table(table)
    assert found.column_names == ["id", "path", "embedding", "fingerprint"]
    assert found["path"].to_pylist() == [str(path) for path in drawings]
    assert found["id"].to_pylist() == [content_id(path.read_bytes()) for path in drawings]
    assert {*found["fingerprint"].to_pylist()} == {session.mammut.fingerprint}
    embeddings = np.stack(found["embedding"].to_numpy(zero_copy_only=False))
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(embeddings, session.embed_images(drawings), atol=1e-4)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_embeddings_go_on_where_a_run_ended(invoke, session, folder, drawings, tmp_path, monkeypatch):
    table, real, passes = tmp_path / "out.parquet", session.embed_images, []

    def busy_at_the_third(images):
        passes.append(len(images))
        if len(passes) == 3:
            raise BusyError("too many wait; come back later")
        return real(images)

    (folder / "text.png").unlink()
    monkeypatch.setattr(folders, "BATCH", 1)
    monkeypatch.setattr(folders, "PART", 1)
    monkeypatch.setattr(session, "embed_images", busy_at_the_third)
    ended = invoke("embed", folder, "--parquet", table)
    assert ended.exit_code == 2 and not table.exists()
    ended = invoke("embed", folder, "--parquet", table)
    assert ended.stdout == f"1 picture done; {table} has 3\nalready there: 2\n"
    assert len(passes) == 4
    assert sorted(pq.read_table(table)["path"].to_pylist()) == [str(path) for path in drawings]
    again = invoke("embed", *drawings, "--parquet", table)
    assert again.exit_code == 0 and again.stdout.startswith("0 pictures done") and len(passes) == 4


def test_embeddings_of_a_run_that_was_killed_as_it_ended_are_there_once(run, drawings, tmp_path, monkeypatch):
    table = tmp_path / "out.parquet"
    with monkeypatch.context() as patch:
        patch.setattr(folders.shutil, "rmtree", lambda parts: None)
        run("embed", *drawings[:2], "--parquet", table)
    run("embed", *drawings, "--parquet", table)
    assert pq.read_table(table)["path"].to_pylist() == [str(path) for path in drawings]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_an_archive_counts_as_a_folder(run, session, drawings, tmp_path):
    archive = tmp_path / "some.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.write(drawings[0], "in/a.png")
    assert run("caption", archive) == f"{archive / 'in' / 'a.png'}: {session.caption(drawings[0])}\n"


@pytest.mark.parametrize(("verb", "option"), TABLES)
def test_tables_of_other_weights_and_other_tables_are_refused_and_stay(
    refused, folder, tmp_path, verb, option
):
    table = tmp_path / "table"
    if verb == "caption":
        table.write_text("path,caption,error,fingerprint\na.png,a cat,,others00\n")
    else:
        pq.write_table(pa.table({"path": ["a.png"], "fingerprint": ["others00"]}), table)
    before = table.read_bytes()
    assert "made by other weights (others00)" in refused(verb, folder, option, table)
    assert table.read_bytes() == before
    table.write_text("name;age\n")
    assert "name another file" in refused(verb, folder, option, table)
    assert table.read_text() == "name;age\n"


@pytest.mark.parametrize(("verb", "option"), TABLES)
def test_what_cannot_be_done_is_told_before_weights_are_loaded(
    refused, folder, tmp_path, verb, option, monkeypatch
):
    monkeypatch.setattr(palm_demo, "load", lambda *_, **__: pytest.fail("weights were loaded"))
    (tmp_path / "none").mkdir()
    assert "cannot be written" in refused(verb, folder, option, tmp_path / "nowhere" / "out")
    assert "cannot be written" in refused(verb, folder, option, tmp_path / "none")
    assert "there are no pictures in" in refused(verb, tmp_path / "none", option, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_several_captions_go_on_after_a_picture_that_fails(invoke, session, folder, drawings):
    files = [drawings[0], folder / "text.png", folder / "gone.png", drawings[1]]
    ended = invoke("caption", *files)
    assert ended.exit_code == LEFT_OUT
    assert ended.stdout.splitlines() == [f"{file}: {session.caption(file)}" for file in (files[0], files[3])]
    assert ended.stderr.count("left out: ") == 2
    ended = invoke("caption", *files, "--json")
    assert ended.exit_code == LEFT_OUT
    assert ["error" in one for one in json.loads(ended.stdout)] == [False, True, True, False]
    assert invoke("caption", *files, "--max-new-tokens", "9999").exit_code == 2


def test_one_caption_of_what_is_no_picture_is_a_mistake(refused, folder):
    for file in (folder / "gone.png", folder / "text.png"):
        assert file.name in refused("caption", file)
    assert "File name too long" in refused("caption", folder / ("a" * 300))


def test_a_folder_of_one_picture_says_which_it_is(run, session, folder):
    alone = folder / "more" / "c.png"
    assert run("caption", folder / "more") == f"{alone}: {session.caption(alone)}\n"
