"""The card beside trained weights."""

import json
from pathlib import Path

from palm_demo.training.card import write_card
from palm_demo.training.loop import Intervals
from palm_demo.training.mammut import MammutRecipe
from palm_demo.training.paths import RunPaths
from palm_demo.training.scope import ScopeRecipe


def card(tmp_path: Path, recipe: MammutRecipe) -> str:
    paths = RunPaths(tmp_path / "assets", tmp_path / "run", Intervals(), None)
    return write_card("mammut", "mammut", recipe, {"held_out_named": 0.9}, paths).read_text()


def test_a_card_says_nothing_of_where_things_lay_on_the_machine_of_the_training(tmp_path):
    written = card(tmp_path, MammutRecipe("/home/somebody/photographs", "/home/somebody/words", steps=7))
    assert "/home" not in written
    assert "mammut --photographs PHOTOGRAPHS --wordnet WORDNET --steps 7`" in written
    assert "| photographs | PHOTOGRAPHS |" in written and "| start |  |" in written


def test_a_card_tells_how_long_the_training_took(tmp_path):
    (tmp_path / "run").mkdir()
    lines = [json.dumps({"step": step, "hours": hours}) for step, hours in ((500, 0.5), (1000, 1.25))]
    (tmp_path / "run" / "log.jsonl").write_text("\n".join(lines) + "\n")
    written = card(tmp_path, MammutRecipe("/photographs"))
    assert "| hours of training | 1.25 |" in written and "| held_out_named | 0.9 |" in written


def test_the_command_of_a_card_names_the_corpus_where_it_is_needed(tmp_path):
    (tmp_path / "index.csv").write_text("id,title,author,shelf\n2147,Works,Poe,poe\n")
    paths = RunPaths(tmp_path / "assets", tmp_path / "run", Intervals(), tmp_path)
    written = write_card("scope", "poe", ScopeRecipe("poe"), {"scope": 1.9}, paths).read_text()
    assert "`python -m palm_demo.training scope --author poe --corpus CORPUS`" in written
    assert "Books read, by Gutenberg number: 2147." in written
