"""`python -m palm_demo.training …`: a verb for each recipe, an option for each of its settings."""

from dataclasses import fields
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from palm_demo.installation import ASSETS
from palm_demo.training import __main__ as training


def invoke(*words: str) -> Result:
    return CliRunner().invoke(training.app, words, env={"COLUMNS": "200"}, catch_exceptions=False)


@pytest.fixture
def trained(monkeypatch) -> list:
    """What the recipes were run with, instead of a training."""
    calls = []
    for verb, (recipe, _) in training.RECIPES.items():
        call = (recipe, lambda *given: calls.append(given) or {"loss": 1.0})
        monkeypatch.setitem(training.RECIPES, verb, call)
    monkeypatch.setattr(training, "write_card", lambda *_: Path("card.md"))
    return calls


@pytest.mark.parametrize("verb", training.RECIPES)
def test_each_setting_of_a_recipe_is_an_option(verb):
    told = invoke(verb, "--help").stdout
    recipe, train = training.RECIPES[verb]
    assert train.__doc__.splitlines()[0] in told
    for field in fields(recipe):
        assert f"--{field.name.replace('_', '-')} " in told


def test_what_is_not_given_is_as_the_recipe_says(trained):
    ended = invoke("palm", "--steps", "3", "--learning-rate", "0.5")
    assert (ended.exit_code, ended.stdout) == (0, "palm: {'loss': 1.0}\ncard: card.md\n")
    ((recipe, paths),) = trained
    made, _ = training.RECIPES["palm"]
    assert recipe == made(steps=3, learning_rate=0.5)
    assert (paths.assets, paths.run, paths.corpus) == (ASSETS, Path("runs/palm"), None)
    assert paths.intervals == training.Intervals()


def test_a_scope_is_called_after_its_author_and_needs_books(trained, tmp_path):
    assert invoke("scope", "--author", "poe").exit_code == 2
    assert invoke("scope", "--corpus", str(tmp_path)).exit_code == 2 and not trained
    assert invoke("scope", "--author", "poe", "--corpus", str(tmp_path)).exit_code == 0
    ((recipe, paths),) = trained
    assert (recipe.author, paths.run, paths.corpus) == ("poe", Path("runs/poe"), tmp_path)
