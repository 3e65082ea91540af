"""Scenes made to order: what somebody chose is drawn so, the rest is left to chance."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from palm_demo.world.atlas import Atlas
from palm_demo.world.backgrounds import COLORS
from palm_demo.world.captions import NUMBERS, OPPOSITE, RELATIONS, backdrop, caption, converse, with_article
from palm_demo.world.motion import CHANGES, WAYS, MovingScene, moving_scene
from palm_demo.world.scenes import COUNTS, arrange_pair, count_scene, single_scene
from palm_demo.world.things import Scene

MOST = max(COUNTS)
"""Of one thing in one scene."""

MOVES = {"left": "to the left", "right": "to the right", "up": "up", "down": "down"}


@dataclass(frozen=True)
class Order:
    """One thing, several of it, two things, or one that moves.

    other: stands in the same scene, where `relation` ("left", "right", "above" or "below") is how `name`
    stands to it. way: one of WAYS. color, style: None for any.
    """

    name: str
    count: int = 1
    other: str | None = None
    relation: str = "left"
    way: str | None = None
    color: str | None = None
    style: str | None = None


def made_to_order(rng: Random, order: Order, atlas: Atlas | None = None) -> Scene | MovingScene:
    """A scene that shows what was ordered.

    Raises ValueError, which names the value and the remedy, for what the world does not have and for
    what cannot be shown together.
    """
    atlas = atlas or Atlas.load()
    _check(order, atlas)
    styles = None if order.style is None else (order.style,)
    drawing = {"styles": styles, "names": [order.name], "color": order.color, "atlas": atlas}
    if order.way is not None:
        return moving_scene(rng, order.way, **drawing)
    if order.other is not None:
        first, second, relation = order.name, order.other, order.relation
        if relation in ("right", "below"):
            first, second, relation = second, first, OPPOSITE[relation]
        return arrange_pair(rng, first, second, relation, styles, order.color, atlas)
    if order.count > 1:
        return count_scene(rng, count=order.count, **drawing)
    return single_scene(rng, **drawing)


def sample_order(rng: Random, atlas: Atlas | None = None) -> Order:
    """An order of any kind, for things that models are trained on."""
    name, other = rng.sample((atlas or Atlas.load()).trained, 2)
    color = rng.choice(COLORS)
    kinds = (
        Order(name, color=color),
        Order(name, color=color, count=rng.choice(COUNTS)),
        Order(name, color=color, other=other, relation=rng.choice(tuple(RELATIONS))),
        Order(name, color=color, way=rng.choice(WAYS)),
    )
    return rng.choice(kinds)


def spoken(order: Order, drawn: Scene | MovingScene, atlas: Atlas | None = None) -> str:
    """What a scene shows, in words, from where it was ordered: the ordered thing comes first."""
    if isinstance(drawn, MovingScene):
        does = f"that {drawn.way}" if drawn.way in CHANGES else f"that moves {MOVES[drawn.way]}"
        return f"{with_article(order.name, atlas)} {does} on {backdrop(drawn.scene.background.color)}"
    turned = drawn.kind == "pair" and drawn.names[0] != order.name
    return (converse if turned else caption)(drawn, atlas)


def _check(order: Order, atlas: Atlas) -> None:
    for name in (order.name, *([order.other] if order.other is not None else [])):
        drawn = atlas.styles_of(name)
        if order.style is not None and not atlas.has(name, order.style):
            raise ValueError(
                f"style {order.style!r} has no drawing of {name!r}; choose any style, or {' or '.join(drawn)}"
            )
    if not isinstance(order.count, int) or order.count not in (1, *COUNTS):
        raise ValueError(f"a scene holds 1 to {MOST} of a thing, not {order.count!r}; ask for another number")
    if order.relation not in RELATIONS:
        raise ValueError(f"unknown relation {order.relation!r}; choose one of: {', '.join(RELATIONS)}")
    if order.way is not None and order.way not in WAYS:
        raise ValueError(f"unknown way {order.way!r}; choose one of: {', '.join(WAYS)}")
    if order.color is not None and order.color not in COLORS:
        raise ValueError(f"unknown background colour {order.color!r}; choose one of: {', '.join(COLORS)}")
    several = f"{NUMBERS[order.count]} of a thing" if order.count > 1 else None
    beside = f"a thing beside {with_article(order.other, atlas)}" if order.other is not None else None
    moving = "a thing that moves" if order.way is not None else None
    kinds = [kind for kind in (several, beside, moving) if kind]
    if len(kinds) > 1:
        raise ValueError(f"{' and '.join(kinds)} do not fit into one scene; choose one of them")
    if order.other == order.name:
        raise ValueError(f"both things are {order.name!r}; choose another, or one thing and the number 2")
