"""`python -m palm_demo.training {tokenizer,tower,mammut,ood,palm,flamingo,scope}`: the recipes."""

from collections.abc import Callable
from dataclasses import fields
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any

import typer

from palm_demo import commands
from palm_demo.installation import ASSETS, INSTALLED
from palm_demo.training.card import READ_BOOKS, write_card
from palm_demo.training.flamingo import FlamingoRecipe, train_flamingo
from palm_demo.training.loop import Intervals
from palm_demo.training.mammut import MammutRecipe, train_mammut
from palm_demo.training.ood import OODRecipe, train_ood
from palm_demo.training.palm import PalmRecipe, train_palm
from palm_demo.training.paths import RunPaths
from palm_demo.training.scope import ScopeRecipe, train_scope
from palm_demo.training.tokenizer import TokenizerRecipe, train_tokenizer
from palm_demo.training.tower import TowerRecipe, train_tower

RECIPES: dict[str, tuple[type[Any], Callable[[Any, RunPaths], dict[str, float]]]] = {
    "tokenizer": (TokenizerRecipe, train_tokenizer),
    "tower": (TowerRecipe, train_tower),
    "mammut": (MammutRecipe, train_mammut),
    "ood": (OODRecipe, train_ood),
    "palm": (PalmRecipe, train_palm),
    "flamingo": (FlamingoRecipe, train_flamingo),
    "scope": (ScopeRecipe, train_scope),
}
CARRY_BOOKS = ("palm",)
"""Recipes that store their books in the run's folder, and need no corpus if they are there."""

app = commands.new_app("The recipes that the weights were trained with.")


def _add_verb(verb: str) -> None:
    """Adds a command for a recipe, with an option for each of its settings."""
    recipe, train = RECIPES[verb]

    def command(
        assets: Path, run: Path | None, checkpoint_seconds: float, measure_steps: int, **settings: Any
    ) -> None:
        _train(verb, settings, assets, run, Intervals(checkpoint_seconds, measure_steps))

    options = [
        # what pip installed is not to be written over
        _option("assets", Path, Parameter.empty if INSTALLED else ASSETS, "Where results go."),
        _option("run", Path | None, None, "Checkpoints and log; by default runs/NAME."),
        _option("checkpoint_seconds", float, Intervals.checkpoint_seconds, "Between two checkpoints."),
        _option("measure_steps", int, Intervals.measure_steps, "Between two measurements."),
        *(
            _option(field.name, field.type, getattr(recipe, field.name, Parameter.empty))
            for field in fields(recipe)
        ),
    ]
    if verb in READ_BOOKS:
        needed = (Path | None, None) if verb in CARRY_BOOKS else (Path, Parameter.empty)
        options.append(_option("corpus", *needed, "A folder of .txt files."))
    vars(command)["__signature__"] = Signature(options)
    app.command(verb, help=train.__doc__)(command)


def _option(name: str, kind: Any, default: Any, described: str | None = None) -> Parameter:
    option = Annotated[kind, typer.Option(help=described)]
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=option)


def _train(verb: str, settings: dict[str, Any], assets: Path, run: Path | None, intervals: Intervals) -> None:
    corpus = settings.pop("corpus", None)
    recipe_class, train = RECIPES[verb]
    recipe = recipe_class(**settings)
    name = getattr(recipe, "author", verb)
    paths = RunPaths(assets, run or Path("runs") / name, intervals, corpus)
    figures = train(recipe, paths)
    print(f"{name}: {figures}\ncard: {write_card(verb, name, recipe, figures, paths)}")


for _verb in RECIPES:
    _add_verb(_verb)

if __name__ == "__main__":
    commands.run(app)
