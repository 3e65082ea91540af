"""Where things go in a frame: whole, apart, and in an order nobody can mistake.

Lengths and places are fractions of the frame, x to the right and y downwards.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from palm_demo.world.things import Thing

GAP = 0.02  # least room between two things
TRIES_PER_THING = 40


def place_alone(rng: Random, thing: Thing) -> Thing:
    """Put a thing anywhere it fits whole; one that is wider than the frame goes to the middle."""
    low, high = thing.reach, 1 - thing.reach
    if low >= high:
        return replace(thing, x=0.5, y=0.5)
    return replace(thing, x=rng.uniform(low, high), y=rng.uniform(low, high))


def place_in_order(rng: Random, things: tuple[Thing, Thing], relation: str) -> tuple[Thing, Thing]:
    """Put the first thing to the "left" of the second or "above" it, shrinking both where they must.

    Across that axis they stay nearly level, so that no other relation can be meant.
    """
    taken = 2 * sum(thing.reach for thing in things)
    shrink = min(1.0, (1 - 2 * GAP) / taken)
    first, second = (replace(thing, size=thing.size * shrink) for thing in things)
    spare = 1 - GAP - 2 * (first.reach + second.reach)
    before = rng.uniform(0, spare)
    near = before + first.reach
    far = 1 - rng.uniform(0, spare - before) - second.reach
    level, offset = rng.uniform(0.32, 0.68), rng.uniform(-0.05, 0.05)
    near_side = _inside(level - offset, first.reach)
    far_side = _inside(level + offset, second.reach)
    if relation == "above":
        return replace(first, x=near_side, y=near), replace(second, x=far_side, y=far)
    return replace(first, x=near, y=near_side), replace(second, x=far, y=far_side)


def scatter(rng: Random, things: tuple[Thing, ...]) -> tuple[Thing, ...]:
    """Put things anywhere so that none touches another, shrinking all of them while they don't fit."""
    while True:
        placed = _try_to_scatter(rng, things)
        if placed is not None:
            return placed
        things = tuple(replace(thing, size=thing.size * 0.96) for thing in things)


def touch(a: Thing, b: Thing) -> bool:
    """Whether the boxes around two things are closer than GAP."""
    room = a.reach + b.reach + GAP
    return abs(a.x - b.x) < room and abs(a.y - b.y) < room


def _try_to_scatter(rng: Random, things: tuple[Thing, ...]) -> tuple[Thing, ...] | None:
    placed: list[Thing] = []
    for thing in things:
        for _ in range(TRIES_PER_THING):
            spot = place_alone(rng, thing)
            if not any(touch(spot, other) for other in placed):
                placed.append(spot)
                break
        else:
            return None
    return tuple(placed)


def _inside(value: float, reach: float) -> float:
    return min(max(value, reach), 1 - reach)
