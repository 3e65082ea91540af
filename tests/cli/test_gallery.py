"""`python -m palm_demo gallery …`, as it is typed, on the bundled weights."""

import json
import random
from pathlib import Path

import pytest
from PIL import Image

import palm_demo
from palm_demo import world
from palm_demo.commands import LEFT_OUT
from palm_demo.gallery import open_gallery
from palm_demo.session import starter_gallery

pytestmark = pytest.mark.slow


@pytest.fixture
def run_any(invoke, session, tmp_path, monkeypatch):
    """Runs a command on a gallery of its own, with weights that are loaded already."""

    def load(profile, on_progress, gallery_place="memory://"):
        monkeypatch.setattr(session, "gallery_place", gallery_place)
        session.__dict__.pop("gallery", None)
        return session

    kept = session.gallery
    monkeypatch.setattr(palm_demo, "load", load)
    monkeypatch.setenv("PALM_DEMO_GALLERY", str(tmp_path / "gallery"))

    def run(*arguments: str) -> tuple[int, str, str]:
        ended = invoke(*arguments)
        return ended.exit_code, ended.stdout, ended.stderr

    yield run
    session.__dict__["gallery"] = kept


@pytest.fixture
def run(run_any):
    return lambda *arguments: run_any("gallery", *arguments)


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in range(6):
        world.render(world.single_scene(random.Random(seed)), 128).save(folder / f"{seed}.png")
    (folder / "0.txt").write_text("my own words")
    (folder / "text.png").write_text("words")
    return folder


@pytest.mark.ray
def test_workers_of_ray_add_pictures_of_the_same_weights(run, folder, monkeypatch):
    monkeypatch.setenv("RAY_worker_niceness", "0")  # at 15, a busy machine lets them starve
    code, out, _ = run("add", str(folder), "--engine", "ray", "--workers", "1")
    assert code == LEFT_OUT
    assert "6 pictures added; the gallery has 6" in out
    assert "0 pictures added; the gallery has 6" in run("add", str(folder))[1]


def test_pictures_are_added_found_exported_and_removed(run, folder, tmp_path):
    code, out, _ = run("add", str(folder))
    assert code == LEFT_OUT
    assert "6 pictures added; the gallery has 6" in out
    assert "1 could not be read:\n  text.png: text.png is not a picture" in out
    again = json.loads(run("add", str(folder), "--json")[1])
    assert (again["added"], len(again["known"]), again["pictures"]) == ([], 6, 6)
    assert again["unreadable"][0]["name"] == "text.png"

    found = json.loads(run("search", "--image", str(folder / "0.png"), "--k", "2", "--json")[1])
    assert found[0]["caption"] == "my own words"
    assert found[0]["score"] == pytest.approx(1, abs=1e-4)
    filtered = json.loads(run("search", "a cat", "--contains", "own words", "--json")[1])
    assert [hit["name"] for hit in filtered] == ["0.png"]
    code, out, _ = run("search", "cat", "--image", str(folder / "1.png"), "--k", "1")
    assert len(out.splitlines()) == 1

    code, out, _ = run("export", str(tmp_path / "out"))
    assert code == 0
    assert out == f"6 pictures written to {tmp_path / 'out'}\n"
    assert (tmp_path / "out" / "metadata.parquet").exists()
    code, out, _ = run("remove", found[0]["id"], "f" * 64)
    assert code == LEFT_OUT
    assert out.startswith(f"1 of 2 removed; the gallery has 5\n1 not in the gallery:\n  {'f' * 64}\n")
    assert run("remove", found[1]["id"])[:2] == (0, "1 of 1 removed; the gallery has 4\n")
    about = json.loads(run("info", "--json")[1])
    assert (about["pictures"], about["place"]) == (4, str(tmp_path / "gallery"))


def test_a_gallery_of_other_weights_is_refused_and_rebuilt(run, folder, session, monkeypatch):
    now = session.mammut.fingerprint
    monkeypatch.setitem(vars(session.mammut), "fingerprint", "earlier0")
    run("add", str(folder))
    monkeypatch.setitem(vars(session.mammut), "fingerprint", now)
    code, out, err = run("search", "a cat")
    assert (code, out) == (2, "")
    assert "made by other weights (earlier0)" in err and "gallery rebuild --gallery" in err
    assert run("rebuild")[1] == "6 pictures embedded again\n"
    assert run("search", "a cat", "--k", "9")[1].count(".png  ") == 6
    assert run("rebuild")[1] == "the gallery is of these weights already\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["add", "/nowhere/at/all"], "there is no /nowhere/at/all"),
        (["search"], "nothing to search for"),
        (["search", "cat", "--since", "soon"], "'soon' is not a date"),
        (["search", "cat", "--k", "0"], "k is 0"),
        (["info", "--gallery", "/proc/nowhere"], "there is no gallery in /proc/nowhere"),
        (["add", ".", "--gallery", "/proc/nowhere"], "cannot be read or written"),
        (["export", "/proc/nowhere"], "there is no gallery"),
    ],
)
def test_mistakes_are_told_in_one_line(run, arguments, said):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


@pytest.mark.parametrize("verb", ["info", "search", "remove", "export", "rebuild"])
def test_reading_where_there_is_no_gallery_says_so_and_makes_none(run, tmp_path, verb):
    words = {"search": ["a cat"], "remove": ["0" * 64], "export": [str(tmp_path / "out")]}.get(verb, [])
    code, out, err = run(verb, *words)
    assert (code, out) == (2, "")
    assert f"there is no gallery in {tmp_path / 'gallery'}; " in err and "gallery add FOLDER" in err
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("verb", [["gallery", "search"], ["search"]])
def test_both_searches_look_into_the_gallery_that_is_there(run_any, folder, tmp_path, verb):
    run_any("gallery", "add", str(folder))
    for named in ([], ["--gallery", str(tmp_path / "gallery")]):
        code, out, _ = run_any(*verb, "--image", str(folder / "0.png"), "--k", "1", *named, "--json")
        assert code == 0 and json.loads(out)[0]["caption"] == "my own words"
    code, _, err = run_any(*verb, "a cat", "--gallery", str(tmp_path / "mistyped"))
    assert code == 2 and "there is no gallery" in err and not (tmp_path / "mistyped").exists()


@pytest.mark.parametrize("verb", [["gallery", "search"], ["search"]])
def test_where_nobody_has_made_or_named_a_gallery_the_scenes_are_searched_in_memory(
    run_any, tmp_path, monkeypatch, verb
):
    monkeypatch.delenv("PALM_DEMO_GALLERY")
    monkeypatch.setattr(starter_gallery, "data_folder", lambda: tmp_path / "data")
    code, out, err = run_any(*verb, "a goose", "--k", "1")
    assert code == 0 and "a goose" in out and "the scenes that a new page begins with" in err
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("verb", [["info"], ["remove", "0" * 64], ["export"]])
def test_what_needs_no_model_loads_none(run, eye_gallery, monkeypatch, tmp_path, verb):
    monkeypatch.setattr(palm_demo, "load", lambda *_, **__: pytest.fail("weights were loaded"))
    verb = [*verb, str(tmp_path / "out")] if verb == ["export"] else verb
    _, out, err = run(*verb, "--json")
    assert err == "" and json.loads(out)
    if verb == ["info"]:
        about = json.loads(out)
        assert (about["weights"], about["embedding_dim"], about["pictures"]) == ("others", 8, 0)


@pytest.fixture
def eye_gallery(tmp_path):
    """An empty gallery that other weights made."""
    return open_gallery(tmp_path / "gallery", "others", 8)


def test_a_copy_is_told_by_the_name_of_what_it_is_a_copy_of(run, folder):
    run("add", str(folder))
    (folder / "copy").mkdir()
    Image.open(folder / "3.png").resize((120, 120)).save(folder / "copy" / "small.png")
    code, out, _ = run("add", str(folder / "copy"))
    assert code == 0 and "1 similar to a picture that is there:\n  small.png (like 3.png)\n" in out
    (near,) = json.loads(run("add", str(folder / "copy"), "--json")[1])["near"]
    assert (near["name"], near["like"], len(near["id"])) == ("small.png", "3.png", 64)


def test_a_folder_without_pictures_says_what_is_there(run, tmp_path):
    (tmp_path / "none").mkdir()
    assert "there are no files in" in run("add", str(tmp_path / "none"))[1]
    (tmp_path / "none" / "notes.md").write_text("words")
    assert "no file in" in run("add", str(tmp_path / "none"))[1]
