"""`python -m palm_demo.training {tokenizer,mammut,familiarity,palm,flamingo,scope}`: the recipes."""

import argparse
from dataclasses import fields
from pathlib import Path

from palm_demo.installation import ASSETS, INSTALLED
from palm_demo.training.card import write_card
from palm_demo.training.flamingo import FlamingoRecipe, train_flamingo
from palm_demo.training.loop import Intervals
from palm_demo.training.mammut import MammutRecipe, train_mammut
from palm_demo.training.ood import FamiliarityRecipe, train_familiarity
from palm_demo.training.palm import PalmRecipe, train_palm
from palm_demo.training.paths import RunPaths
from palm_demo.training.scope import ScopeRecipe, train_scope
from palm_demo.training.tokenizer import TokenizerRecipe, train_tokenizer

RECIPES = {
    "tokenizer": (TokenizerRecipe, train_tokenizer),
    "mammut": (MammutRecipe, train_mammut),
    "familiarity": (FamiliarityRecipe, train_familiarity),
    "palm": (PalmRecipe, train_palm),
    "flamingo": (FlamingoRecipe, train_flamingo),
    "scope": (ScopeRecipe, train_scope),
}
READ_BOOKS = ("tokenizer", "palm", "scope")
CARRY_BOOKS = ("palm",)
"""These keep their books in the run's folder, and need no corpus where they find them there."""


def make_parser() -> argparse.ArgumentParser:
    """A verb per recipe, with an option for each of its settings."""
    parser = argparse.ArgumentParser(prog="python -m palm_demo.training", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, (recipe, train) in RECIPES.items():
        made = verbs.add_parser(verb, help=train.__doc__.splitlines()[0])
        made.set_defaults(corpus=None)
        if verb in READ_BOOKS:
            needed = verb not in CARRY_BOOKS
            made.add_argument("--corpus", type=Path, required=needed, help="folder of .txt files")
        # what pip installed is not to be written over
        made.add_argument("--assets", type=Path, default=ASSETS, required=INSTALLED, help="where results go")
        made.add_argument("--run", type=Path, help="checkpoints and log; default runs/NAME")
        made.add_argument("--checkpoint-seconds", type=float, default=Intervals.checkpoint_seconds)
        made.add_argument("--measure-steps", type=int, default=Intervals.measure_steps)
        for field in fields(recipe):
            flag = f"--{field.name.replace('_', '-')}"
            if hasattr(recipe, field.name):
                made.add_argument(flag, type=field.type, default=field.default)
            else:
                made.add_argument(flag, type=field.type, required=True)
    return parser


def main() -> None:
    given = make_parser().parse_args()
    recipe_class, train = RECIPES[given.verb]
    recipe = recipe_class(**{f.name: getattr(given, f.name) for f in fields(recipe_class)})
    name = getattr(recipe, "author", given.verb)
    paths = RunPaths(
        given.assets,
        given.run or Path("runs") / name,
        Intervals(given.checkpoint_seconds, given.measure_steps),
        given.corpus,
    )
    figures = train(recipe, paths)
    print(f"{name}: {figures}\ncard: {write_card(given.verb, name, recipe, figures, paths)}")


if __name__ == "__main__":
    main()
