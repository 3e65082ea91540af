"""`python -m palm_demo gallery …`, as it is typed, on the bundled weights."""

import json
import random
from pathlib import Path

import pytest

import palm_demo
from palm_demo import world
from palm_demo.cli.main import main

pytestmark = pytest.mark.slow


@pytest.fixture
def run(session, tmp_path, monkeypatch, capsys):
    """Runs a command on a gallery of its own, with weights that are loaded already."""

    def load(profile, tell, gallery_place="memory://"):
        monkeypatch.setattr(session, "gallery_place", gallery_place)
        session.__dict__.pop("gallery", None)
        return session

    kept = session.gallery
    monkeypatch.setattr(palm_demo, "load", load)
    monkeypatch.setenv("PALM_DEMO_GALLERY", str(tmp_path / "gallery"))

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["gallery", *arguments])
        told = capsys.readouterr()
        return code, told.out, told.err

    yield run
    session.__dict__["gallery"] = kept


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in range(6):
        world.render(world.single_scene(random.Random(seed)), 128).save(folder / f"{seed}.png")
    (folder / "0.txt").write_text("my own words")
    (folder / "text.png").write_text("words")
    return folder


def test_pictures_are_added_found_exported_and_removed(run, folder, tmp_path):
    code, out, _ = run("add", str(folder))
    assert code == 0
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

    _, out, _ = run("export", str(tmp_path / "out"))
    assert out == f"6 pictures written to {tmp_path / 'out'}\n"
    assert (tmp_path / "out" / "metadata.parquet").exists()
    _, out, _ = run("remove", found[0]["id"], "f" * 64)
    assert out == "1 of 2 removed; the gallery has 5\n"
    about = json.loads(run("info", "--json")[1])
    assert (about["pictures"], about["place"]) == (5, str(tmp_path / "gallery"))


def test_a_gallery_of_other_weights_is_refused_and_rebuilt(run, folder, session, monkeypatch):
    now = session.fingerprint
    monkeypatch.setitem(session.__dict__, "fingerprint", "earlier0")
    run("add", str(folder))
    monkeypatch.setitem(session.__dict__, "fingerprint", now)
    code, out, err = run("search", "a cat")
    assert (code, out) == (2, "")
    assert "made by other weights (earlier0)" in err and "gallery rebuild --gallery" in err
    assert run("rebuild")[1] == "6 pictures looked at again\n"
    assert len(run("search", "a cat")[1].splitlines()) == 6
    assert run("rebuild")[1] == "the gallery is of these weights already\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["add", "/nowhere/at/all"], "there is no /nowhere/at/all"),
        (["search"], "nothing to search for"),
        (["search", "cat", "--since", "soon"], "'soon' is no date"),
        (["search", "cat", "--k", "0"], "k is 0"),
        (["info", "--gallery", "/proc/nowhere"], "cannot be read or written"),
    ],
)
def test_mistakes_are_told_in_one_line(run, arguments, said):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err
