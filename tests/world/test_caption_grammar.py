import random

import pytest

from palm_demo import world


def test_captions_of_scenes_and_photographs_are_captions():
    rng = random.Random(0)
    for make in (world.single_scene, world.pair_scene, world.count_scene):
        for _ in range(100):
            assert all(map(world.is_caption, world.captions(make(rng))))
    assert all(world.is_caption(world.photo_caption(name)) for name in world.photo_nouns())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a hourglass on a blue background",
        "dog on a red background",
        "a cat above an dog on a gray background",
        "a banjo above a banjo on a white background",
        "a strawberry on a strawberry",
        "a strawberry strawberry on a white background",
        "one cats on a blue background",
        "three cat on a blue background",
        "a photo of a photo of a cat",
        "a photo of a sl sl slug",
        "a photo of an gazelle",
        "a photo of camel camel",
        "a mag on a white background",
    ],
)
def test_what_a_model_made_up_is_no_caption(text):
    assert not world.is_caption(text)
