"""The picture half of a CLIP file gives the patches that open_clip's own model has before its last norm."""

import open_clip
import pytest
import torch
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from torch.testing import assert_close

from palm_demo.checkpoints import from_reference
from palm_demo.errors import CheckpointError

from .plain_openmammut import HEADS, Plain, tensors


@pytest.fixture
def pixels():
    return torch.randn(2, 3, 8, 8)


@torch.no_grad()
def test_patches_are_raw_and_without_the_class_token(pixels):
    weights = tensors()
    tower = from_reference("clip-tower", weights, heads=HEADS, activation="gelu")
    for picture, patches in zip(pixels, tower(pixels), strict=True):
        assert_close(patches, Plain(weights).tokens(picture)[1:], atol=1e-5, rtol=1e-4)
    assert tower.patches == 4


@torch.no_grad()
def test_the_activation_is_that_which_was_learned_with(pixels):
    seeing = CLIPVisionCfg(image_size=8, patch_size=4, width=32, layers=2, head_width=8)
    reading = CLIPTextCfg(context_length=6, vocab_size=20, width=16, heads=2, layers=1)
    theirs = open_clip.CLIP(16, seeing, reading, quick_gelu=True).eval()
    for weight in theirs.parameters():
        torch.nn.init.normal_(weight, std=0.4)
    theirs.visual.output_tokens = theirs.visual.final_ln_after_pool = True
    _, wanted = theirs.visual(pixels)
    ours = from_reference("clip-tower", theirs.state_dict(), heads=4, activation="quick_gelu")
    assert_close(ours(pixels), wanted, atol=1e-5, rtol=1e-4)
    other = from_reference("clip-tower", theirs.state_dict(), heads=4, activation="gelu")
    assert (other(pixels) - wanted).abs().max() > 1e-3


def test_the_text_half_is_left_and_the_rest_demanded():
    weights = tensors()
    with pytest.raises(CheckpointError, match=r"missing: visual\.proj"):
        part = {name: tensor for name, tensor in weights.items() if name != "visual.proj"}
        from_reference("clip-tower", part, heads=HEADS, activation="gelu")
    with pytest.raises(CheckpointError, match=r"unexpected: visual\.odd"):
        from_reference("clip-tower", weights | {"visual.odd": torch.zeros(1)}, heads=HEADS, activation="gelu")


def test_an_unknown_activation_is_refused_with_those_that_are_known():
    with pytest.raises(CheckpointError, match="activation is 'relu'; known: gelu, quick_gelu"):
        from_reference("clip-tower", tensors(), heads=HEADS, activation="relu")
