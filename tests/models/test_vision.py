"""The vision tower, as open_clip builds it from our configuration."""

import copy
import pickle
from math import isqrt

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from palm_demo.checkpoints import load_tower
from palm_demo.media import to_rgb
from palm_demo.models.vision import VisionTower, freeze_

WHITE, RED = (255, 255, 255), (255, 0, 0)


@pytest.fixture(scope="module")
def tower(assets) -> VisionTower:
    return load_tower(assets / "weights" / "tower.safetensors", assets / "vision")


TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 8, "layers": 2, "width": 32, "head_width": 16, "patch_size": 4},
    "text_cfg": {"context_length": 4, "vocab_size": 8, "width": 16, "heads": 1, "layers": 1},
}


@pytest.fixture
def openai_weights(monkeypatch, tmp_path):
    """A file of a tiny CLIP that learned QuickGELU, which open_clip knows as "tiny" and by the tag
    "openai", as it knows ViT-L-14."""
    configs = open_clip.factory._MODEL_CONFIGS
    monkeypatch.setitem(configs, "tiny", TINY)
    monkeypatch.setitem(configs, "tiny-quickgelu", TINY | {"quick_gelu": True})
    file = tmp_path / "tiny.pt"
    clip = open_clip.create_model("tiny-quickgelu")
    for weight in clip.parameters():
        weight.data += 0.2 * torch.randn_like(weight)
    torch.save(clip.state_dict(), file)
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny", {"openai": {"quick_gelu": True}})
    monkeypatch.setattr(open_clip.factory, "download_pretrained", lambda *_, **__: str(file))
    return file


def plain_tokens(visual, pixels: torch.Tensor) -> torch.Tensor:
    """OpenAI's vision transformer up to its last block: all tokens but the class token's."""
    patches = visual.conv1(pixels).flatten(2).transpose(1, 2)
    first = visual.class_embedding.expand(len(pixels), 1, -1)
    states = visual.ln_pre(torch.cat((first, patches), dim=1) + visual.positional_embedding)
    for block in visual.transformer.resblocks:
        normed = block.ln_1(states)
        states = states + block.attn(normed, normed, normed)[0]
        inner = block.mlp.c_fc(block.ln_2(states))
        states = states + block.mlp.c_proj(inner * torch.sigmoid(1.702 * inner))
    return states[:, 1:]


def drawing(mode: str) -> Image.Image:
    """Red on the left, nothing on the right."""
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((0, 0), (*RED, 255))
    return image.quantize() if mode == "P" else image.convert(mode)


def test_the_bundled_tower_gives_a_token_per_place_and_never_one_per_picture(tower):
    tokens = tower(torch.randn(2, 3, tower.image_size, tower.image_size))
    assert tokens.shape == (2, tower.patches, tower.width)
    assert tower.patches >= 16 and isqrt(tower.patches) ** 2 == tower.patches
    assert all(len(of_one.unique(dim=0)) == tower.patches for of_one in tokens)


@pytest.mark.parametrize(("top", "left"), [(True, True), (True, False), (False, True), (False, False)])
def test_tokens_stand_in_reading_order(top, left, tower):
    size, side = tower.image_size, isqrt(tower.patches)
    pixels, third = torch.zeros(1, 3, size, size), size // 3
    blank = tower(pixels)
    rows = slice(None, third) if top else slice(-third, None)
    columns = slice(None, third) if left else slice(-third, None)
    pixels[:, :, rows, columns] = torch.randn(3, third, third)
    change = (tower(pixels) - blank).norm(dim=-1).view(side, side)
    changed_rows, changed_columns = change.sum(dim=1), change.sum(dim=0)
    assert (changed_rows.argmax() < side / 2, changed_columns.argmax() < side / 2) == (top, left)


@torch.no_grad()
def test_openais_weights_run_with_their_own_activation_and_give_tokens_without_the_last_norm(openai_weights):
    pixels = torch.randn(2, 3, 8, 8)
    for name, source in (("tiny", "openai"), ("tiny-quickgelu", str(openai_weights))):
        tower = VisionTower.from_open_clip(name, source).eval()
        plain = plain_tokens(tower.visual, pixels)
        torch.testing.assert_close(tower(pixels), plain, atol=1e-5, rtol=1e-5)
        assert (tower.visual.ln_post(plain) - plain).abs().max() > 0.1
    other = VisionTower.from_open_clip("tiny", str(openai_weights)).eval()  # a file does not tell
    assert (other(pixels) - plain).abs().max() > 1e-3


def test_the_vit_of_openflamingo_gives_256_tokens_of_1024():
    with torch.device("meta"):
        tower = VisionTower.from_open_clip("ViT-L-14-quickgelu", device="meta")
    assert (tower.patches, tower.width, tower.image_size) == (256, 1024, 224)
    activations = {type(block.mlp.gelu).__name__ for block in tower.visual.transformer.resblocks}
    assert activations == {"QuickGELU"}


def test_a_picture_is_fitted_whole_on_white(tower):
    pixels = tower.preprocess([Image.new("RGB", (200, 50), RED), Image.new("L", (7, 9))])
    size, middle = tower.image_size, tower.image_size // 2
    assert pixels.shape == (2, 3, size, size)
    red = torch.tensor([1.0, -1.0, -1.0])
    assert torch.allclose(pixels[0, :, middle, [1, size - 2]], red[:, None], atol=0.02)
    assert torch.allclose(pixels[0, :, [2, size - 3], middle], torch.ones(3, 2))


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA"])
def test_flatten_puts_transparency_on_white(mode):
    flat = to_rgb(drawing(mode))
    assert flat.mode == "RGB" and flat.getpixel((1, 0)) == WHITE
    assert flat.getpixel((0, 0)) == (RED if mode != "LA" else (76, 76, 76))


def test_flatten_mixes_what_is_half_transparent():
    assert to_rgb(Image.new("RGBA", (1, 1), (0, 0, 0, 128))).getpixel((0, 0)) == (127, 127, 127)


def test_flatten_keeps_the_shades_of_a_sixteen_bit_picture():
    shades = Image.fromarray(np.array([[0, 0x4000, 0xFFFF]], dtype=np.uint16))
    assert [to_rgb(shades).getpixel((x, 0))[0] for x in range(3)] == [0, 64, 255]


def test_a_frozen_tower_stays_in_eval_mode_without_gradients(new_tower):
    tower = freeze_(new_tower().train())
    torch.nn.Sequential(tower).train()
    pixels = torch.randn(1, 3, 8, 8)
    assert torch.equal(tower(pixels), tower(pixels))
    assert not tower(pixels).requires_grad


@pytest.mark.parametrize("size", [(1, 192), (192, 1), (1, 1), (1, 50_000), (50_000, 1)])
def test_thin_pictures_are_read_too(size, tower, openai_weights):
    """By a tower that fits the long side, and by one that fits the short one, which must not make it huge."""
    for one in (tower, VisionTower.from_open_clip("tiny", "openai")):
        pixels = one.preprocess([Image.new("RGB", size, RED)])
        assert pixels.shape == (1, 3, one.image_size, one.image_size) and pixels.isfinite().all()
    red, green, _ = tower.preprocess([Image.new("RGB", size, RED)])[0]
    assert (red == 1).all() and (green < 0).any()  # it is there, on white


@pytest.mark.parametrize("again", [copy.deepcopy, lambda tower: pickle.loads(pickle.dumps(tower))])
def test_a_frozen_tower_is_copied_and_pickled_as_one_that_stays_frozen(new_tower, again):
    tower = freeze_(new_tower())
    other = again(tower)
    assert torch.nn.Sequential(other).train()[0] is other is not tower
    assert other.train() is other and not other.training
    assert tower.train() is tower and not tower.training
    assert not any(weight.requires_grad for weight in other.parameters())
