"""The recipe of PaLM, from books and tokenizer to weights and a card."""

import json

import pytest

from palm_demo.checkpoints import load_palm
from palm_demo.training.card import write_card
from palm_demo.training.loop import Intervals
from palm_demo.training.palm import PalmRecipe, train_palm
from palm_demo.training.paths import RunPaths
from palm_demo.training.prose import HELD_OUT

TINY = PalmRecipe(steps=2, dim=64, depth=3, batch=1, world_batch=1, accumulate=2)


@pytest.fixture
def corpus(tmp_path):
    """A book to read, a shelf that is left to a scope, and a book that nobody reads."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    unread = min(HELD_OUT)
    rows = ["id,title,author,shelf", "7,Tale,Nobody,fairy", "11,Alice,Carroll,carroll", f"{unread},Un,Read,"]
    (folder / "index.csv").write_text("\n".join(rows))
    for name in ("7", "11", unread):
        (folder / f"{name}.txt").write_text("The old king lived alone in the wood. " * 300)
    return folder


def place(tmp_path, assets, corpus) -> RunPaths:
    (tmp_path / "assets").mkdir(exist_ok=True)
    link = tmp_path / "assets/tokenizer.json"
    if not link.is_symlink():
        link.symlink_to(assets / "tokenizer.json")
    return RunPaths(tmp_path / "assets", tmp_path / "run", Intervals(1e9, 1), corpus)


@pytest.mark.slow
def test_the_recipe_trains_measures_and_writes_weights_and_a_card(tmp_path, assets, corpus):
    here = place(tmp_path, assets, corpus)
    figures = train_palm(TINY, here)
    palm, made = load_palm(here.weights / "palm.safetensors")
    assert made.size.dim == 64 and made.size.depth == 3 and len(palm.decoder.blocks) == 3
    log = [json.loads(line) for line in (here.run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [1, 2] and log[-1]["bits_per_byte"] == figures["bits_per_byte"]
    assert {"hours", "prose", "world", "photographs", "caption"} <= log[-1].keys()
    card = write_card("palm", "palm", TINY, figures, here).read_text()
    assert "Books read, by Gutenberg number: 7." in card and "carroll" in card


@pytest.mark.slow
def test_it_goes_on_where_there_is_no_corpus(tmp_path, assets, corpus):
    train_palm(TINY, place(tmp_path, assets, corpus))
    for file in corpus.iterdir():
        file.unlink()
    train_palm(PalmRecipe(**{**vars(TINY), "steps": 3}), place(tmp_path, assets, None))
