"""MaMMUT gives the numbers of MaMMUT-pytorch."""

import pytest
import torch
from torch.testing import assert_close

from palm_demo.models.losses import IGNORED

from .conftest import Encoder

MAMMUT = "mammut-pytorch"
PAD = 0
equal = {"atol": 1e-5, "rtol": 0}
SHAPES = {
    "plain": {},
    "every other": {"depth": 4, "cross_attend_every": 2},
    "given layers": {"depth": 4, "cross_attend_layers": (1, 4)},
    "no layer": {"cross_attend_layers": ()},
    "odd": {"dim": 44, "heads": 3, "dim_head": 8, "ff_mult": 3, "dim_latents": 17, "image_dim": 28},
}
every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


@pytest.fixture
def mammuts(twins):
    def make(**arguments):
        shape = {"num_img_queries": 6, "image_dim": 24} | arguments
        return twins(MAMMUT, **{"img_encoder": Encoder(shape["image_dim"])} | shape)

    return make


@pytest.fixture
def pairs(text):
    """Texts of different lengths, padded, and their pictures."""
    ids = text(3, 11)
    ids[0, 8:], ids[2, 5:] = PAD, PAD
    return ids, torch.randn(3, 3, 8, 8)


@every_shape
@torch.no_grad()
def test_logits_are_those_of_mammut_pytorch(shape, mammuts, pairs):
    reference, ours = mammuts(**shape)
    ids, images = pairs
    assert_close(ours(ids, images=images), reference(ids, images=images), **equal)
    tokens = reference.img_encoder(images)
    assert_close(ours(ids, image_tokens=tokens), reference(ids, image_tokens=tokens), **equal)


@every_shape
@torch.no_grad()
def test_embeddings_are_those_of_mammut_pytorch_projected_and_normalized(shape, mammuts, pairs):
    reference, ours = mammuts(**shape)
    ids, images = pairs
    texts, pictures = reference(ids, images=images, return_embeddings=True)
    assert_close(ours.embed_texts(ids, ids != PAD), reference.text_to_latents(texts), **equal)
    assert_close(ours.encode_images(images).latents, reference.img_to_latents(pictures), **equal)
    for latents in (ours.embed_texts(ids, ids != PAD), ours.encode_images(images).latents):
        assert_close(latents.norm(dim=-1), torch.ones(3))


@pytest.mark.parametrize("weights", [(1.0, 1.0), (2.0, 0.0), (0.0, 0.5)], ids=["both", "caption", "contrast"])
@torch.no_grad()
def test_both_losses_are_those_of_mammut_pytorch(weights, mammuts, pairs):
    caption, contrast = weights
    reference, ours = mammuts(caption_loss_weight=caption, contrastive_loss_weight=contrast)
    ids, images = pairs
    read, labels = ids[:, :-1], ids[:, 1:]
    found = ours.losses(
        ours.encode_images(images), read, labels.masked_fill(labels == PAD, IGNORED), read, read != PAD
    )
    wanted = reference(ids, images=images, return_loss=True)
    assert_close(found.caption + found.contrastive, wanted, **equal)


@torch.no_grad()
def test_states_are_those_of_mammut_pytorch(mammuts, pairs):
    reference, ours = mammuts()
    ids, images = pairs
    states = []
    reference.to_logits[0].register_forward_hook(lambda module, given, out: states.append(out))
    reference(ids, images=images)
    assert_close(ours.embed(ids, ours.encode_images(images).memory), states[0], **equal)


@torch.no_grad()
def test_cached_logits_are_those_of_mammut_pytorch(mammuts, pairs):
    reference, ours = mammuts()
    ids, images = pairs
    wanted = reference(ids, images=images)
    logits, cache = ours.prefill(ids[:, :4], [4] * 3, 11, ours.encode_images(images).memory)
    assert_close(logits, wanted[:, 3], **equal)
    for n in range(4, 11):
        assert_close(ours.decode_step(ids[:, n], cache), wanted[:, n], **equal)
