"""The recipe of an author's scope."""

import pytest
import torch

from palm_demo.checkpoints import load_adapter, load_palm, save_palm
from palm_demo.checkpoints.bundled import PaLMConfig
from palm_demo.models.transformer import TransformerConfig
from palm_demo.training.loop import Intervals
from palm_demo.training.paths import RunPaths
from palm_demo.training.scope import ScopeRecipe, train_scope

RHYME = "the little cat and the old dog went to the house in the wood, and "


@pytest.fixture
def place(new_palm, tokenizer, assets, tmp_path) -> RunPaths:
    """A tiny PaLM, two books of an author, and one of them never read (Gutenberg's 946)."""
    made = PaLMConfig(TransformerConfig(32, 2, 2, len(tokenizer), dim_head=16), "rlhf", context=32)
    save_palm(tmp_path / "assets/weights/palm.safetensors", new_palm(size=made.size), made)
    (tmp_path / "assets/tokenizer.json").symlink_to(assets / "tokenizer.json")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    rows = ["id,title,author,shelf", "1,One,A,austen", "946,Two,A,austen", "3,Three,B,verne"]
    (corpus / "index.csv").write_text("\n".join(rows))
    for name in ("1", "946", "3"):
        (corpus / f"{name}.txt").write_text(RHYME * 100)
    return RunPaths(tmp_path / "assets", tmp_path / "run", Intervals(), corpus)


@pytest.mark.slow
def test_a_scope_is_taught_and_written(place):
    recipe = ScopeRecipe("austen", steps=20, batch=4, rank=4, learning_rate=0.03)
    figures = train_scope(recipe, place)
    assert figures["scope"] < figures["base"]
    palm, _ = load_palm(place.weights / "palm.safetensors")
    assert load_adapter(place.weights / "scopes/austen.safetensors", palm).rank == 4


@pytest.mark.slow
def test_the_same_recipe_gives_the_same_scope(place):
    path = place.weights / "scopes/austen.safetensors"
    written = []
    for seed in (0, 0, 1):
        train_scope(ScopeRecipe("austen", steps=3, batch=2, rank=2, seed=seed), place)
        palm, _ = load_palm(place.weights / "palm.safetensors")
        written.append(load_adapter(path, palm).layers[0]["query"].down)
    assert torch.equal(written[0], written[1]) and not torch.equal(written[0], written[2])


def test_a_shelf_without_an_unread_book_is_refused(place):
    with pytest.raises(ValueError, match=r"'verne' of .* has none of the held-out books"):
        train_scope(ScopeRecipe("verne", steps=3), place)
