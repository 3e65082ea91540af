"""Flamingo gives the numbers of flamingo-pytorch."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from palm_demo.models.losses import IGNORED

from .conftest import Encoder, NoEncoder

FLAMINGO = "flamingo-pytorch"
equal = {"atol": 1e-5, "rtol": 0}
both_rules = pytest.mark.parametrize("immediate", [True, False], ids=["immediate", "all"])
SHAPES = (
    {},
    {"depth": 4, "cross_attn_every": 1},
    {"depth": 5, "cross_attn_every": 2, "heads": 3, "dim_head": 8},
    {"dim": 44, "heads": 1, "ff_mult": 3, "perceiver_num_latents": 7, "perceiver_depth": 1},
)


@pytest.fixture
def flamingos(twins):
    def make(**arguments):
        shape = {"cross_attn_every": 2, "perceiver_num_latents": 5, "max_video_frames": 4} | arguments
        return twins(FLAMINGO, **{"img_encoder": Encoder(shape.get("dim", 32))} | shape)

    return make


@both_rules
@pytest.mark.parametrize("shape", SHAPES, ids=["plain", "every block", "odd heads", "odd width"])
@torch.no_grad()
def test_logits_on_images_are_those_of_flamingo_pytorch(immediate, shape, flamingos, text):
    reference, ours = flamingos(only_attend_immediate_media=immediate, **shape)
    ids, images = text(2, 17, marks=(0, 5, 9)), torch.randn(2, 3, 3, 8, 8)
    assert_close(ours(ids, images=images), reference(ids, images=images), **equal)
    assert (ours(ids, images=images) - ours(ids, images=images.flip(1))).abs().max() > 1e-2


@both_rules
@pytest.mark.parametrize("frames", [1, 3, 4])
@torch.no_grad()
def test_logits_on_videos_are_those_of_flamingo_pytorch(immediate, frames, flamingos, text):
    reference, ours = flamingos(only_attend_immediate_media=immediate)
    ids, videos = text(2, 13, marks=(0, 6)), torch.randn(2, 2, frames, 3, 8, 8)
    assert_close(ours(ids, videos=videos), reference(ids, videos=videos), **equal)


@both_rules
@torch.no_grad()
def test_logits_on_text_alone_are_those_of_flamingo_pytorch(immediate, flamingos, text):
    reference, ours = flamingos(only_attend_immediate_media=immediate)
    ids = text(2, 13)
    assert_close(ours(ids), reference(ids), **equal)


@both_rules
@torch.no_grad()
def test_logits_on_precomputed_embeddings_are_those_on_their_pictures(immediate, flamingos, text):
    """The reference raises NameError on `embeds`; their pictures say what the logits should be."""
    reference, ours = flamingos(only_attend_immediate_media=immediate)
    ids, images = text(2, 13, marks=(0, 6)), torch.randn(2, 2, 3, 8, 8)
    embeds = reference.img_encoder(images.flatten(0, 1)).unflatten(0, (2, 2))
    with pytest.raises(NameError):
        reference(ids, embeds=embeds)
    assert_close(ours(ids, embeds=embeds), reference(ids, images=images), **equal)


@torch.no_grad()
def test_logits_on_precomputed_videos_are_those_on_their_frames(flamingos, text):
    reference, ours = flamingos()
    ids, videos = text(1, 13, marks=(0, 6)), torch.randn(1, 2, 3, 3, 8, 8)
    embeds = reference.img_encoder(videos.flatten(0, 2)).unflatten(0, (1, 2, 3))
    assert_close(ours(ids, embeds=embeds), reference(ids, videos=videos), **equal)


@torch.no_grad()
def test_states_and_loss_are_those_of_flamingo_pytorch(flamingos, text):
    reference, ours = flamingos()
    ids, images = text(2, 13, marks=(0, 6)), torch.randn(2, 2, 3, 8, 8)
    states = []
    reference.to_logits[0].register_forward_hook(lambda module, given, out: states.append(out))
    logits = reference(ids, images=images)
    latents = ours.embed_media(list(images.flatten(0, 1)), ids)
    assert_close(ours.embed(ids, latents), states[0], **equal)
    labels = F.pad(ids[:, 1:], (0, 1), value=IGNORED)
    wanted = F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:])
    assert_close(ours.loss(ids, labels, latents), wanted, **equal)


@both_rules
@torch.no_grad()
def test_cached_logits_are_those_of_flamingo_pytorch(immediate, flamingos, text):
    reference, ours = flamingos(only_attend_immediate_media=immediate)
    ids, images = text(1, 13, marks=(0, 6)), torch.randn(1, 2, 3, 8, 8)
    wanted = reference(ids, images=images)
    latents = ours.embed_media(list(images[0]), ids)
    logits, cache = ours.prefill(ids[:, :8], [8], 13, latents)
    assert_close(logits, wanted[:, 7], **equal)
    for n in range(8, 13):
        assert_close(ours.decode_step(ids[:, n], cache), wanted[:, n], **equal)


@torch.no_grad()
def test_a_model_without_an_encoder_reads_precomputed_embeddings(flamingos, text):
    reference, ours = flamingos(img_encoder=NoEncoder())
    ids, patches = text(2, 13, marks=(0, 6)), torch.randn(2, 2, 4, 32)
    assert_close(ours(ids, embeds=patches), reference(ids, images=patches), **equal)
