"""The atlas: which nouns it holds, in which styles, and what is written about them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from palm_demo import world
from palm_demo.world.atlas import SPRITES, Atlas, parse_noun, read_nouns
from palm_demo.world.build_sprites import VALIDATION_STYLE


def test_there_are_400_trained_and_40_unseen_concepts_and_none_is_both():
    assert len(world.concepts()) >= 400
    assert len(world.unseen()) >= 40
    assert not set(world.concepts()) & set(world.unseen())


def test_the_atlas_holds_what_the_list_of_nouns_says():
    nouns = read_nouns()
    assert [noun.name for noun in nouns if noun.seen] == world.concepts()
    assert [noun.name for noun in nouns if not noun.seen] == world.unseen()


def test_trained_concepts_are_drawn_in_at_least_four_of_the_six_styles():
    atlas = Atlas.load()
    assert atlas.styles == world.STYLES
    assert [name for name in world.concepts() + world.unseen() if len(atlas.styles_of(name)) < 4] == []


def test_every_sprite_shows_something():
    atlas = Atlas.load()
    for style in atlas.styles:
        for concept in atlas.concepts:
            if atlas.has(concept.name, style):
                alpha = atlas.pixels(concept.name, style)[..., 3]
                assert (alpha > 128).mean() > 0.04, (concept.name, style)
                assert alpha[[0, -1]].max() < 128 and alpha[:, [0, -1]].max() < 128, (
                    concept.name,
                    style,
                )


def test_the_validation_style_is_not_shipped_and_the_sheets_stay_small():
    files = [path for path in SPRITES.iterdir() if path.suffix == ".webp"]
    assert VALIDATION_STYLE not in {path.stem for path in files}
    assert sum(path.stat().st_size for path in files) < 8_000_000


def test_articles_and_plurals_are_english():
    atlas = Atlas.load()
    said = {name: (atlas.concept(name).article, atlas.concept(name).plural) for name in world.concepts()}
    assert said["cat"] == ("a", "cats")
    assert said["elephant"] == ("an", "elephants")
    assert said["unicorn"] == ("a", "unicorns")
    assert said["hourglass"] == ("an", "hourglasses")
    assert said["mouse"] == ("a", "mice")
    assert said["wolf"] == ("a", "wolves")


def test_importing_the_world_reads_no_sprites_and_needs_no_model_code():
    code = f"""
import sys, types
package = types.ModuleType("palm_demo")  # bare: the real one brings the models along
package.__path__ = [{str(SPRITES.parents[1] / "palm_demo")!r}]
sys.modules["palm_demo"] = package
import palm_demo.world.atlas
print(palm_demo.world.atlas._load.cache_info().currsize)
print(sorted(sys.modules.keys() & {{"torch", "inflect", "resvg_py"}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["0", "[]"]


def test_a_noun_may_name_its_icon_and_spellings():
    noun = parse_noun("* ear of corn: corn fxemoji=maize noto=-", "food")
    assert (noun.name, noun.seen) == ("ear of corn", False)
    assert [noun.icon_in(style) for style in ("noto", "fxemoji", "fluent-emoji")] == [
        None,
        "maize",
        "corn",
    ]
    assert parse_noun("polar bear", "animal").icon_in("fxemoji") == "polarbear"


def test_a_style_without_the_drawing_says_which_styles_have_it():
    with pytest.raises(ValueError, match="'fxemoji' has no drawing of 'zebra'; these have: noto"):
        Atlas.load().sprite("zebra", "fxemoji")


def test_the_card_states_every_sheet_with_its_version():
    card = (SPRITES / "README.md").read_text(encoding="utf-8")
    styles = json.loads((SPRITES / "atlas.json").read_text(encoding="utf-8"))["styles"]
    for sheet in styles.values():
        drawn = sum(cell is not None for cell in sheet["cells"])
        assert f"| `{sheet['file']}` | {drawn} | `{sheet['package']}` | {sheet['version']} |" in card
    assert f"drawings of {len(world.concepts()) + len(world.unseen())} everyday things" in card
