"""The samples show what the examples of the README ask about them."""

import json
from random import Random

import pytest
from typer.testing import CliRunner

from palm_demo import world
from palm_demo.cli.main import app
from palm_demo.world.scene_specs import DRAWN, TEXT

LEGIBLE = 1_000
"""Letters of a result that somebody looks at in a console."""


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("here") / "samples"
    world.write_samples(folder)
    return folder


def test_they_are_files_that_are_written_once(tmp_path, samples):
    paths = world.write_samples(tmp_path)
    assert sorted(path.name for path in paths) == sorted(path.name for path in samples.iterdir())
    for path in paths:
        assert path.suffix == ".mp4" or path.read_bytes() == (samples / path.name).read_bytes()
    own = tmp_path / "cat.png"
    own.write_bytes(b"somebody's own")
    assert world.write_samples(tmp_path) == paths and own.read_bytes() == b"somebody's own"


def test_models_know_what_they_show(session, samples):
    for name in ("cat", "cat-and-apple", "foxes"):
        drawn = world.scene_of_spec(Random(name), DRAWN[name])
        assert world.is_exact(session.caption(samples / f"{name}.png"), drawn)
    way = session.answer("<media> question: which way does the car move? answer:", [samples / "car.mp4"])
    assert way == "to the left"
    shots = [samples / f"{name}.png" for name in ("dax", "wug", "dax-or-wug")]
    prompt = "<media> this is a dax. <media> this is a wug. <media> this is a"
    assert session.answer(prompt, shots) == "wug"
    assert {DRAWN["dax"].name, DRAWN["wug"].name} <= set(world.unseen())


def test_the_command_line_writes_them(tmp_path):
    ended = CliRunner().invoke(app, ["samples", str(tmp_path / "new"), "--json"])
    assert ended.exit_code == 0
    paths = json.loads(ended.stdout)
    assert len(paths) == len(DRAWN) + 1 and paths[-1] == str(tmp_path / "new" / TEXT)
    (tmp_path / "file").write_text("no folder")
    ended = CliRunner().invoke(app, ["samples", str(tmp_path / "file")])
    assert ended.exit_code == 2 and ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("error: no samples can be written into")


def test_what_the_verbs_return_can_be_read_in_a_console(session, samples):
    *_, taught = session.finetune((samples / TEXT).read_text(encoding="utf-8"), steps=1, eval_steps=1)
    (hit,) = session.search("a fox on a blue background", k=1)
    looked = session.attention_maps("<media> question: is there a cat? answer:", [samples / "cat.png"], "yes")
    for shown in (taught, hit, looked):
        assert len(repr(shown)) < LEGIBLE
    assert hit.thumbnail and taught.adapter.layers and looked.media[0].maps.size
