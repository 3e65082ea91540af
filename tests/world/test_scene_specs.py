"""Scenes made to order show what was ordered, and say what cannot be."""

from dataclasses import replace
from random import Random

import pytest

from palm_demo import world
from palm_demo.world import MovingScene, SceneSpec, describe_spec, sample_spec, scene_of_spec

CAT = SceneSpec("cat")


def made(order: SceneSpec, seed: int = 0):
    return scene_of_spec(Random(f"orders/{seed}"), order)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("relation", world.RELATIONS)
def test_a_thing_stands_where_it_was_ordered(relation, seed):
    order = replace(CAT, other="bone", relation=relation, color="blue")
    scene = made(order, seed)
    cat, bone = sorted(scene.things, key=lambda thing: thing.name != "cat")
    stands = {
        "left": cat.x < bone.x,
        "right": cat.x > bone.x,
        "above": cat.y < bone.y,
        "below": cat.y > bone.y,
    }
    assert (cat.name, bone.name) == ("cat", "bone") and stands[relation]
    assert describe_spec(order, scene) == f"a cat {world.RELATIONS[relation]} a bone on a blue background"
    assert world.is_exact(describe_spec(order, scene), scene)


@pytest.mark.parametrize("count", range(1, world.MOST + 1))
def test_as_many_are_shown_as_were_ordered(count):
    scene = made(replace(CAT, count=count, style="noto", color="white"))
    assert scene.names == ("cat",) * count
    assert {thing.style for thing in scene.things} == {"noto"} and scene.background.color == "white"
    assert world.is_exact(describe_spec(CAT, scene), scene)


@pytest.mark.parametrize("way", world.WAYS)
def test_a_thing_moves_as_it_was_ordered(way):
    order = replace(CAT, way=way, color="red")
    moving = made(order)
    assert isinstance(moving, MovingScene) and (moving.way, moving.names) == (way, ("cat",))
    assert way in describe_spec(order, moving) and describe_spec(order, moving).endswith(
        "on a red background"
    )


def test_orders_at_random_can_all_be_drawn_and_told():
    for seed in range(40):
        order = sample_spec(Random(seed))
        drawn = made(order, seed)
        still = drawn.scene if isinstance(drawn, MovingScene) else drawn
        assert still.background.color == order.color
        assert set(still.names) == {order.name} | ({order.other} if order.other else set())
        assert describe_spec(order, drawn).startswith(("a ", "an ", "two ", "three ", "four ", "five "))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "dax"}, "unknown concept 'dax'; choose"),
        ({"style": "crayon"}, "unknown style 'crayon'; this atlas has"),
        ({"count": 9}, "1 to 5 of a thing, not 9; ask"),
        ({"count": 0}, "1 to 5 of a thing, not 0; ask"),
        ({"other": "bone", "relation": "in"}, "unknown relation 'in'; choose one of: left"),
        ({"way": "around"}, "unknown way 'around'; choose one of: left"),
        ({"color": "mauve"}, "unknown background colour 'mauve'; choose one of: white"),
        ({"other": "cat"}, "both things are 'cat'; choose another"),
        ({"other": "bone", "count": 2}, "two of a thing and a thing beside a bone .*choose one"),
        ({"other": "bone", "way": "up"}, "beside a bone and a thing that moves .*choose one"),
    ],
)
def test_what_cannot_be_drawn_is_said_with_its_remedy(changes, message):
    with pytest.raises(ValueError, match=message):
        made(replace(CAT, **changes))


def test_a_style_without_the_thing_names_those_that_have_it():
    atlas = world.Atlas.load()
    name, style = next((n, s) for n in atlas.trained for s in atlas.styles if not atlas.has(n, s))
    with pytest.raises(
        ValueError, match=f"no drawing of '{name}'; choose any style, or {atlas.styles_of(name)[0]}"
    ):
        made(SceneSpec(name, style=style))
