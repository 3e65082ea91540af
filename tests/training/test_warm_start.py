"""Starting from an earlier model's weights."""

import random

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from palm_demo import world
from palm_demo.errors import CheckpointError
from palm_demo.models.layers import LayerNorm
from palm_demo.training.feature_cache import encode_scenes
from palm_demo.training.flamingo import FlamingoRecipe, seen_by_both
from palm_demo.training.warm_start import copy_where_alike_, fit_projection_


class Coarse(nn.Module):
    """A tower that sees 4 x 4 places: their colours and the differences of these."""

    image_size, side = 32, 4

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        colors = nn.functional.adaptive_avg_pool2d(pixels, self.side).flatten(2).mT
        return torch.cat((colors, colors.roll(1, dims=2) * 2, colors.square()), dim=2)


class Earlier(Coarse):
    """A tower of as many places that gives two channels, each linear in what `Coarse` gives normalised."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        normalized = LayerNorm(9)(super().forward(pixels).bfloat16().float()).detach()
        return torch.stack((normalized[..., 0] - normalized[..., 7], 3 * normalized[..., 4]), dim=-1)


class Finer(Earlier):
    """The same with 8 x 8 places."""

    side = 8


class Imagined:
    """Features of photographs, as `Coarse` would give them."""

    def imagined(self, numbers: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return torch.randn(len(numbers), 16, 9, generator=generator)


@pytest.fixture(scope="module")
def cache():
    rng = random.Random(0)
    return encode_scenes([world.single_scene(rng) for _ in range(48)], Coarse(), "seed")


def test_only_tensors_of_the_same_name_and_shape_are_copied():
    model = nn.ModuleDict({"same": nn.Linear(2, 3), "wider": nn.Linear(4, 3), "fresh": nn.Linear(2, 3)})
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    earlier = nn.ModuleDict({"same": nn.Linear(2, 3), "wider": nn.Linear(2, 3), "fresh": nn.Linear(2, 3)})
    copy_where_alike_(model, earlier.state_dict(), fresh=("fresh.weight",))
    assert_close(model["same"].weight, earlier["same"].weight)
    assert_close(model["wider"].weight, before["wider.weight"])
    assert_close(model["wider"].bias, earlier["wider"].bias)
    assert_close(model["fresh"].weight, before["fresh.weight"])


def test_a_fitted_projection_gives_what_the_earlier_tower_gave(cache):
    norm, linear = LayerNorm(9), nn.Linear(9, 2, bias=False)
    fit_projection_(norm, linear, cache, cache.media, Earlier(), "seed")
    wanted = encode_scenes(cache.media, Earlier(), "seed").patches.float()
    missed = (linear(norm(cache.patches.float())) - wanted).square().mean() / wanted.var()
    assert missed < 1e-3


def test_a_finer_grid_is_scaled_to_that_of_the_new_tower(cache):
    norm, linear = LayerNorm(9), nn.Linear(9, 2, bias=False)
    fit_projection_(norm, linear, cache, cache.media, Finer(), "seed")
    coarse = encode_scenes(cache.media, Earlier(), "seed").patches.float()
    missed = (linear(norm(cache.patches.float())) - coarse).square().mean() / coarse.var()
    assert missed < 0.3


def test_a_tower_of_another_width_is_refused(cache):
    with pytest.raises(CheckpointError, match="2 channels, and the projection gives 5"):
        fit_projection_(LayerNorm(9), nn.Linear(9, 5, bias=False), cache, cache.media, Earlier(), "seed")


def test_in_place_of_a_photograph_the_earlier_tower_looks_at_a_drawing_of_it(cache):
    recipe = FlamingoRecipe("", seed=0)
    known, scenes = seen_by_both(recipe, cache, Imagined())
    assert len(known.media) == len(scenes) and scenes[: len(cache.media)] == cache.media
    photos, drawings = known.media[len(cache.media) :], scenes[len(cache.media) :]
    assert all(world.usual_name(p.name) == s.names[0] for p, s in zip(photos, drawings, strict=True))
    assert {"cat", "dog", "umbrella"} <= {scene.names[0] for scene in drawings} <= set(world.concepts())
