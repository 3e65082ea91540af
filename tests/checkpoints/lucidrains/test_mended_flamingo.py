"""Where flamingo-pytorch is wrong: what it does, and what ours does instead."""

import pytest
import torch
from flamingo_pytorch.flamingo_palm import FlamingoPaLM
from torch import nn
from torch.testing import assert_close

from palm_demo.errors import PromptError

from .conftest import SIZE, Encoder, NoEncoder, stir_

FLAMINGO = "flamingo-pytorch"
SHAPE = {"cross_attn_every": 2, "perceiver_num_latents": 5, "max_video_frames": 4}


@pytest.fixture
def flamingos(twins):
    return lambda **arguments: twins(FLAMINGO, **{"img_encoder": Encoder(32)} | SHAPE | arguments)


def pictures(batch: int, media: int):
    return torch.randn(batch, media, 3, 8, 8)


def learning(model: nn.Module) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


def test_an_encoder_is_needed_for_pixels_alone(flamingos, text):
    with pytest.raises(AttributeError):
        FlamingoPaLM(**SIZE)
    _, ours = flamingos(img_encoder=NoEncoder())
    ours.encoder.tower = None
    ids = text(1, 9, marks=(0,))
    assert ours(ids, embeds=torch.randn(1, 1, 4, 32)).shape == (1, 9, 48)
    with pytest.raises(PromptError, match="no vision tower; give it patches"):
        ours(ids, images=pictures(1, 1))


def test_the_encoder_stays_frozen_and_still_in_text_mode_and_in_training(flamingos, text):
    reference, ours = flamingos()
    for model in (reference, ours):
        model(text(1, 9))
        model.train()
    assert reference.img_encoder.training and reference.img_encoder.to_patches.weight.requires_grad
    assert not ours.encoder.tower.training and not ours.encoder.tower.dropout.training
    assert not ours.encoder.tower.to_patches.weight.requires_grad


def test_a_forward_pass_freezes_and_thaws_nothing(flamingos, text):
    reference, ours = flamingos()
    ids, images = text(1, 9, marks=(0,)), pictures(1, 1)
    changed = {}
    for name, model in (("reference", reference), ("ours", ours)):
        before = learning(model)
        model(text(1, 9))
        model(ids, images=images)
        changed[name] = before ^ learning(model)
    assert changed["reference"] and not changed["ours"]


def test_frame_positions_and_the_media_token_learn(flamingos, text):
    reference, ours = flamingos()
    ids, videos = text(1, 9, marks=(0,)), torch.randn(1, 1, 3, 3, 8, 8)
    for model in (reference, ours):
        model(ids, videos=videos).square().mean().backward()
    assert reference.video_frame_pos_emb.grad is None and reference.token_emb.weight.grad is None
    assert ours.encoder.frame_positions.grad[:3].all() and ours.media_embedding.grad.any()


def test_a_model_of_pictures_refuses_videos_with_both_numbers(flamingos, text):
    reference, ours = flamingos(max_video_frames=None)
    ids, videos = text(1, 9, marks=(0,)), torch.randn(1, 1, 3, 3, 8, 8)
    with pytest.raises(TypeError):
        reference(ids, videos=videos)
    with pytest.raises(PromptError, match="3 frames, at most 0 fit"):
        ours(ids, videos=videos)


def test_too_many_frames_are_refused_with_both_numbers(flamingos, text):
    reference, ours = flamingos()
    ids, videos = text(1, 9, marks=(0,)), torch.randn(1, 1, 5, 3, 8, 8)
    with pytest.raises(RuntimeError):
        reference(ids, videos=videos)
    with pytest.raises(PromptError, match="5 frames, at most 4 fit"):
        ours(ids, videos=videos)


@torch.no_grad()
def test_pictures_and_videos_stand_in_one_text(flamingos, text):
    reference, ours = flamingos(only_attend_immediate_media=False)
    ids, images, videos = text(1, 9, marks=(0, 4)), pictures(1, 1), torch.randn(1, 2, 3, 3, 8, 8)
    ignored = [reference(ids, images=some, videos=videos) for some in (images, -images)]
    assert torch.equal(*ignored)
    with pytest.raises(PromptError, match="images and videos were given together"):
        ours(ids, images=images, videos=videos)
    picture, video = images[0, 0], videos[0, 0]
    one, other, swapped = (
        ours.logits(ids, ours.embed_media(media, ids))
        for media in ([picture, video], [-picture, video], [video, picture])
    )
    assert (one - other)[:, 4:].abs().max() > 1e-3 and (one - swapped).abs().max() > 1e-3


def test_media_beyond_the_places_are_refused_with_both_numbers(flamingos, new_flamingo, text):
    reference, ours = flamingos()
    ids, images = text(1, 9, marks=(0, 1, 2, 3, 4)), pictures(1, 5)
    with pytest.raises(RuntimeError):
        reference(ids, images=images)
    with pytest.raises(PromptError, match="5 media, at most 4 fit"):
        ours(ids, images=images)
    assert new_flamingo()(ids, images=images).shape == (1, 9, 48)  # six places: a setting


@torch.no_grad()
def test_patches_are_demanded_where_the_reference_takes_pooled_pictures_for_patches(flamingos, text):
    class Pooled(Encoder):
        def forward(self, pixels):
            return super().forward(pixels).mean(dim=1)

    reference, ours = flamingos(img_encoder=Pooled(32))
    ids, images = text(1, 9, marks=(0, 3)), pictures(1, 2)
    swapped = reference(ids, images=images.flip(1))
    assert_close(reference(ids, images=images), swapped)  # two media read as one of two patches
    with pytest.raises(PromptError, match=r"gave \(2, 32\); it has to give patches"):
        ours(ids, images=images)
    with pytest.raises(PromptError, match=r"embeds of shape \(1, 2, 32\) do not fit"):
        ours(ids, embeds=torch.randn(1, 2, 32))


def test_the_encoder_may_be_wider_or_narrower_than_the_text(flamingos, new_flamingo, text):
    ids, images = text(1, 9, marks=(0,)), pictures(1, 1)
    reference = FlamingoPaLM(**SIZE, **SHAPE, img_encoder=Encoder(24))
    with pytest.raises(RuntimeError):
        reference(ids, images=images)
    assert new_flamingo()(ids, images=images).shape == (1, 9, 48)  # 24 beside 32


@torch.no_grad()
def test_media_that_do_not_match_their_tokens_are_refused_with_both_counts(flamingos, text):
    reference, ours = flamingos()
    ids, images = text(2, 9, marks=(0, 3)), pictures(2, 3)
    assert reference(ids, images=images).shape == (2, 9, 48)
    with pytest.raises(PromptError, match=r"gets 3 images, but the texts have \[2, 2\] media tokens"):
        ours(ids, images=images)
    uneven = ids.clone()
    uneven[1, 3] = 7
    with pytest.raises(PromptError, match=r"\[2, 1\] media tokens"):
        ours(uneven, images=images[:, :2])


@torch.no_grad()
def test_text_before_the_first_medium_sees_no_later_one(flamingos, text):
    reference, ours = flamingos(only_attend_immediate_media=False)
    ids, images = text(1, 9, marks=(4,)), pictures(1, 1)
    leaked, kept = (model(ids, images=images) - model(ids, images=-images) for model in (reference, ours))
    assert leaked[:, :4].abs().max() > 1e-3
    assert torch.equal(kept[:, :4], torch.zeros(1, 4, 48))
    assert kept[:, 4:].abs().max() > 1e-3


@torch.no_grad()
def test_a_media_token_without_its_medium_is_refused_not_answered_from_all_of_them(flamingos, text):
    reference, ours = flamingos()
    ids, images = text(1, 9, marks=(0, 4)), pictures(1, 1)
    guessed = reference(ids, images=images) - reference(ids, images=-images)
    assert guessed[:, 4:].abs().max() > 1e-3
    with pytest.raises(PromptError, match="each text gets 1 images"):
        ours(ids, images=images)


@torch.no_grad()
def test_decoding_remembers_how_many_media_it_has_passed(flamingos, text):
    reference, ours = flamingos()
    ids, images = text(1, 9, marks=(0, 4)), pictures(1, 2)
    _, cache = ours.prefill(ids[:, :8], [8], 9, ours.embed_media(list(images[0]), ids))
    wanted = reference(ids, images=images)[:, 8]
    forgetful = reference(ids.masked_fill(ids == 3, 5), images=images)[:, 8]
    assert_close(ours.decode_step(ids[:, 8], cache), wanted, atol=1e-5, rtol=0)
    assert (forgetful - wanted).abs().max() > 1e-2


def test_the_media_token_is_never_written(session):
    assert session.flamingo.tokenizer.media_id in session.flamingo.tokenizer.suppress_ids()


def test_stirred_gates_are_open():
    """The tests above see something only if the reference's gates are not shut."""
    reference = FlamingoPaLM(**SIZE, **SHAPE, img_encoder=Encoder(32))
    stir_(reference)
    assert all(gate.abs() > 1e-3 for name, gate in reference.named_parameters() if name.endswith("attn_gate"))
