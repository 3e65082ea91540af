"""What the tests of the session share."""

import random

import pytest

from palm_demo import world


@pytest.fixture(scope="module")
def pictures():
    """A few single things with their scenes."""
    scenes = [world.single_scene(random.Random(f"session/{case}")) for case in range(40)]
    return [(world.render(scene), scene) for scene in scenes]
