"""Where MaMMUT-pytorch is wrong: what it does, and what ours does instead."""

import math

import pytest
import torch
from torch.testing import assert_close

from palm_demo.models.losses import IGNORED

from .conftest import Encoder

MAMMUT = "mammut-pytorch"


@pytest.fixture
def mammuts(twins):
    def make(**arguments):
        shape = {"num_img_queries": 6, "image_dim": 24, "img_encoder": Encoder(24)} | arguments
        return twins(MAMMUT, **shape)

    return make


def losses(ours, texts, read, images):
    """Ours, with the whole text for contrast and the shifted pair for the caption."""
    features = ours.encode_images(images)
    return ours.losses(features, read[:, :-1], read[:, 1:], texts, torch.ones_like(texts, dtype=torch.bool))


@torch.no_grad()
def test_embeddings_are_unit_vectors_ready_for_cosines(mammuts, text):
    reference, ours = mammuts()
    ids, images = text(3, 9), torch.randn(3, 3, 8, 8)
    theirs, _ = reference(ids, images=images, return_embeddings=True)
    assert (theirs.norm(dim=-1) - 1).abs().min() > 0.1
    mine = ours.embed_texts(ids, torch.ones_like(ids, dtype=torch.bool))
    assert_close(mine.norm(dim=-1), torch.ones(3))


@torch.no_grad()
def test_a_text_mask_masks(mammuts, text):
    reference, ours = mammuts()
    ids, images = text(2, 9), torch.randn(2, 3, 8, 8)
    real = torch.ones_like(ids, dtype=torch.bool)
    part = real.clone()
    part[:, 5:] = False
    for mask in (real, part):
        kept, _ = reference(ids, text_mask=mask, images=images, return_embeddings=True)
        assert torch.equal(kept, reference(ids, images=images, return_embeddings=True)[0])
    assert (ours.embed_texts(ids, part) - ours.embed_texts(ids, real)).abs().max() > 1e-3
    assert torch.equal(ours.embed_texts(ids, part), ours.embed_texts(ids.masked_fill(~part, 7), part))


@torch.no_grad()
def test_the_contrastive_text_keeps_its_last_token(mammuts, text):
    reference, ours = mammuts(caption_loss_weight=0.0)
    ids, images = text(3, 9), torch.randn(3, 3, 8, 8)
    other = ids.clone()
    other[0, -1] = 5 if ids[0, -1] != 5 else 6
    theirs = [reference(some, images=images, return_loss=True) for some in (ids, other)]
    mine = [losses(ours, some, ids, images).contrastive for some in (ids, other)]
    assert torch.equal(*theirs)
    assert (mine[0] - mine[1]).abs() > 1e-5


@torch.no_grad()
def test_a_text_is_embedded_without_a_picture(mammuts, text):
    reference, ours = mammuts()
    ids = text(2, 9)
    with pytest.raises((AttributeError, TypeError)):
        reference(ids, return_embeddings=True)
    assert ours.embed_texts(ids, torch.ones_like(ids, dtype=torch.bool)).shape == (2, 32)


def test_the_temperature_starts_as_clips_and_is_bounded(mammuts, new_mammut):
    reference, _ = mammuts()
    fresh = type(reference)(dim=32, num_tokens=48, depth=1, img_encoder=Encoder(32))
    assert fresh.temperature.exp().item() == pytest.approx(math.e)
    mammut = new_mammut()
    mammut.log_scale.data.fill_(math.log(1 / 0.07))
    assert mammut.scale.item() == pytest.approx(1 / 0.07)
    mammut.log_scale.data.fill_(9.0)
    assert mammut.scale.item() == 100


def test_an_unstirred_model_starts_at_clips_temperature(new_tower):
    from palm_demo.checkpoints.bundled import MaMMUTConfig
    from palm_demo.models.transformer import TransformerConfig

    built = MaMMUTConfig(TransformerConfig(32, 1, 2, 48, 16), "multimodal", (0,), 20).build(new_tower())
    assert built.scale.item() == pytest.approx(1 / 0.07)


@torch.no_grad()
def test_id_zero_is_a_token_like_others(mammuts, text):
    """The reference takes CLIP's `!` for padding; ours is told which tokens are real."""
    reference, ours = mammuts()
    ids, images = text(2, 9), torch.randn(2, 3, 8, 8)
    ids[:, 4] = 0
    theirs, _ = reference(ids, images=images, return_embeddings=True)
    real = torch.ones_like(ids, dtype=torch.bool)
    assert_close(ours.embed_texts(ids, ids != 0), reference.text_to_latents(theirs), atol=1e-5, rtol=0)
    assert (ours.embed_texts(ids, real) - ours.embed_texts(ids, ids != 0)).abs().max() > 1e-3
    logits = ours(ids, images=images)
    labels = ids.clone()
    with_bang = ours.losses(ours.encode_images(images), ids, labels, ids, real).caption
    assert_close(with_bang, torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten()))
    ignored = labels.masked_fill(labels == 0, IGNORED)
    assert (ours.losses(ours.encode_images(images), ids, ignored, ids, real).caption - with_bang).abs() > 1e-4
