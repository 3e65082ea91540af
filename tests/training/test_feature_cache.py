"""The cache of features of drawn scenes."""

import random

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.testing import assert_close

from palm_demo import world
from palm_demo.training.feature_cache import (
    AT_ONCE,
    FRAMES,
    NOISE,
    encode_scenes,
    fingerprint,
    load_or_encode,
    with_noise,
)
from palm_demo.training.pictures import as_tensor, normalized


class Thumbnail(nn.Module):
    """A tower that sees 4 x 4 pixels, exact in bf16."""

    image_size = 32

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return nn.functional.adaptive_avg_pool2d(pixels, 4).flatten(2).mT.bfloat16().float()


@pytest.fixture
def scenes():
    rng = random.Random(0)
    return [world.single_scene(rng), world.moving_scene(rng), world.pair_scene(rng)]


def test_a_cache_holds_what_the_tower_sees_in_each_scene(scenes):
    tower = Thumbnail()
    feature_cache = encode_scenes(scenes, tower, "seed")
    again, video, picture = feature_cache.patches_of(torch.tensor([2, 1, 0]))
    assert again.shape == picture.shape == (16, 3)
    frames = normalized(
        torch.stack([as_tensor(frame) for frame in world.frames(scenes[1], FRAMES, tower.image_size)])
    )
    assert_close(video, tower(frames), atol=0, rtol=0)


@pytest.mark.slow
def test_the_seed_decides_how_scenes_are_drawn_whoever_draws(scenes):
    many = scenes * AT_ONCE  # more than one chunk
    one = encode_scenes(many, Thumbnail(), "seed")
    by_others = encode_scenes(many, Thumbnail(), "seed", loaders=2)
    assert torch.equal(one.patches, by_others.patches)
    assert not torch.equal(one.patches, encode_scenes(many, Thumbnail(), "other seed").patches)


def test_a_cache_in_a_file_is_not_computed_again(scenes, tmp_path, monkeypatch):
    tower = Thumbnail()
    first = load_or_encode(tmp_path / "run" / "features.safetensors", scenes, tower, "seed")
    assert len(first.patches) == FRAMES + 2
    monkeypatch.delattr(Thumbnail, "forward")
    second = load_or_encode(tmp_path / "run" / "features.safetensors", scenes, tower, "seed")
    assert torch.equal(first.patches, second.patches)
    assert torch.equal(first.counts, second.counts)
    with pytest.raises(ValueError, match="has 10 frames, not the 1 asked for; use a new folder"):
        load_or_encode(tmp_path / "run" / "features.safetensors", scenes[:1], tower, "seed")


def test_a_cache_of_another_tower_is_not_used(scenes, tmp_path):
    path, other = tmp_path / "features.safetensors", Thumbnail()
    load_or_encode(path, scenes, Thumbnail(), "seed")
    other.unused.data += 1
    with pytest.raises(ValueError, match="was made by another tower; delete it, or use a new folder"):
        load_or_encode(path, scenes, other, "seed")


def test_a_cache_of_scenes_of_another_seed_is_not_used(scenes, tmp_path):
    path = tmp_path / "pictures.safetensors"
    load_or_encode(path, scenes, Thumbnail(), "pictures/0")
    with pytest.raises(ValueError, match="has the scenes of pictures/0, not of pictures/1; use a new folder"):
        load_or_encode(path, scenes, Thumbnail(), "pictures/1")
    save_file(load_file(path), path, {"tower": fingerprint(Thumbnail())})
    with pytest.raises(ValueError, match="has the scenes of None, not of pictures/0; use a new folder"):
        load_or_encode(path, scenes, Thumbnail(), "pictures/0")


def test_media_of_two_caches_keep_their_patches(scenes):
    first, second = (encode_scenes(some, Thumbnail(), "seed") for some in (scenes[:2], scenes[2:]))
    both = first + second
    assert both.media == scenes
    expected = [*first.patches_of(torch.tensor([0, 1])), *second.patches_of(torch.tensor([0]))]
    for found, patches in zip(both.patches_of(torch.tensor([0, 1, 2])), expected, strict=True):
        assert torch.equal(found, patches)


def test_noise_is_on_the_first_channels_alone_and_of_another_strength_in_each_picture():
    patches = torch.zeros(200, 9, 6)
    noisy = with_noise(patches, 4, torch.Generator().manual_seed(0))
    assert torch.equal(noisy[..., 4:], patches[..., 4:])
    strengths = noisy[..., :4].flatten(1).std(dim=1)
    assert strengths.min() < 0.1 * NOISE and 0.8 * NOISE < strengths.max() < 1.5 * NOISE
    assert torch.equal(noisy, with_noise(patches, 4, torch.Generator().manual_seed(0)))
