"""The vision tower, as open_clip builds it from our configuration."""

from math import isqrt

import numpy as np
import pytest
import torch
from PIL import Image

from palm_demo.vision import VisionTower, flatten, freeze_

WHITE, RED = (255, 255, 255), (255, 0, 0)


@pytest.fixture(scope="module")
def tower(assets) -> VisionTower:
    return VisionTower.from_folder(assets / "vision").eval()


def drawing(mode: str) -> Image.Image:
    """Red on the left, nothing on the right."""
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((0, 0), (*RED, 255))
    return image.quantize() if mode == "P" else image.convert(mode)


def test_the_bundled_tower_gives_a_token_per_place_and_never_one_per_picture(tower):
    tokens = tower(torch.randn(2, 3, tower.image_size, tower.image_size))
    assert tokens.shape == (2, tower.patches, tower.width)
    assert tower.patches >= 16 and isqrt(tower.patches) ** 2 == tower.patches
    assert tokens.std(dim=1).min() > 0


@pytest.mark.parametrize(("top", "left"), [(True, True), (True, False), (False, True), (False, False)])
def test_tokens_stand_in_reading_order(top, left, tower):
    size, side = tower.image_size, isqrt(tower.patches)
    pixels, third = torch.zeros(1, 3, size, size), size // 3
    blank = tower(pixels)
    rows = slice(None, third) if top else slice(-third, None)
    columns = slice(None, third) if left else slice(-third, None)
    pixels[:, :, rows, columns] = torch.randn(3, third, third)
    place = int((tower(pixels) - blank).norm(dim=-1).argmax())
    assert (place // side < side / 2, place % side < side / 2) == (top, left)


def test_a_picture_is_fitted_whole_on_white(tower):
    pixels = tower.preprocess([Image.new("RGB", (200, 50), RED), Image.new("L", (7, 9))])
    size, middle = tower.image_size, tower.image_size // 2
    assert pixels.shape == (2, 3, size, size)
    red = torch.tensor([1.0, -1.0, -1.0])
    assert torch.allclose(pixels[0, :, middle, [1, size - 2]], red[:, None], atol=0.02)
    assert torch.allclose(pixels[0, :, [2, size - 3], middle], torch.ones(3, 2))


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA"])
def test_flatten_puts_transparency_on_white(mode):
    flat = flatten(drawing(mode))
    assert flat.mode == "RGB" and flat.getpixel((1, 0)) == WHITE
    assert flat.getpixel((0, 0)) == (RED if mode != "LA" else (76, 76, 76))


def test_flatten_mixes_what_is_half_transparent():
    assert flatten(Image.new("RGBA", (1, 1), (0, 0, 0, 128))).getpixel((0, 0)) == (127, 127, 127)


def test_flatten_keeps_the_shades_of_a_sixteen_bit_picture():
    shades = Image.fromarray(np.array([[0, 0x4000, 0xFFFF]], dtype=np.uint16))
    assert [flatten(shades).getpixel((x, 0))[0] for x in range(3)] == [0, 64, 255]


def test_a_frozen_tower_stays_in_eval_mode_without_gradients(new_tower):
    tower = freeze_(new_tower().train())
    torch.nn.Sequential(tower).train()
    pixels = torch.randn(1, 3, 8, 8)
    assert torch.equal(tower(pixels), tower(pixels))
    assert not tower(pixels).requires_grad
