"""MaMMUT: image and text latents in one space, and captions, from one decoder."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from palm_demo.models import MaMMUT
from palm_demo.models.losses import IGNORED
from palm_demo.models.mammut import PooledMemory, bidirectional_text_pass, causal_text_pass
from palm_demo.models.resampler import AttentionPool

close = {"atol": 1e-4, "rtol": 1e-4}
TEXT_PASSES = {"bidirectional": bidirectional_text_pass, "causal": causal_text_pass}


@pytest.fixture(params=["patches", "as the reference"])
def mammut(request, new_mammut) -> MaMMUT:
    """With the parts trained here, and with the reference's: pooled memory, multi-query, causal."""
    if request.param == "patches":
        return new_mammut()
    pool = AttentionPool(32, 24, heads=2, kv_heads=1, dim_head=16, caption_queries=6)
    return new_mammut(pool, PooledMemory(), kv_heads=1, text_pass=causal_text_pass)


def pixels(count: int) -> Tensor:
    return torch.randn(count, 3, 8, 8)


def losses(mammut: MaMMUT, new_ids, count: int = 3):
    return mammut.losses(
        mammut.encode_images(pixels(count)),
        new_ids(count, 6),
        new_ids(count, 6),
        new_ids(count, 5),
        torch.ones(count, 5, dtype=torch.bool),
    )


def test_cached_logits_match_full_forward(mammut, new_ids):
    memory, ids = mammut.encode_images(pixels(2)).memory, new_ids(2, 9)
    full = mammut.logits(ids, memory)
    logits, cache = mammut.prefill(ids[:, :4], [4, 4], 9, memory)
    assert_close(logits, full[:, 3], **close)
    for n in range(4, 9):
        assert_close(mammut.decode_step(ids[:, n], cache), full[:, n], **close)


def test_every_word_of_a_caption_looks_at_the_picture(mammut, new_ids):
    ids = new_ids(1, 9)
    runs = []
    for _ in range(2):
        logits, cache = mammut.prefill(ids[:, :4], [4], 9, mammut.encode_images(pixels(1)).memory)
        runs.append(torch.stack([logits, *(mammut.decode_step(ids[:, n], cache) for n in range(4, 9))]))
    assert ((runs[0] - runs[1]).abs().amax(dim=-1) > 1e-3).all()


def test_captions_do_not_see_their_own_future(mammut, new_ids):
    memory, ids = mammut.encode_images(pixels(1)).memory, new_ids(1, 9)
    other = torch.cat((ids[:, :5], new_ids(1, 4)), dim=1)
    assert_close(mammut.logits(ids, memory)[:, :5], mammut.logits(other, memory)[:, :5])


def test_a_caption_in_a_ragged_batch_is_the_caption_alone(mammut, new_ids):
    shown, ids, following = pixels(2), new_ids(2, 5), new_ids(2, 3)
    memory = mammut.encode_images(shown).memory
    logits, cache = mammut.prefill(ids, [2, 5], 8, memory)
    together = torch.stack([logits, *(mammut.decode_step(following[:, n], cache) for n in range(3))], dim=1)
    for row, length in enumerate((2, 5)):
        whole = torch.cat((ids[row, :length], following[row]))[None]
        alone = mammut.logits(whole, mammut.encode_images(shown[row : row + 1]).memory)
        assert_close(together[row], alone[0, length - 1 :], **close)


def test_latents_are_unit_vectors_in_one_space(mammut, new_ids):
    images = mammut.encode_images(pixels(3)).latents
    texts = mammut.embed_texts(new_ids(4, 5), torch.ones(4, 5, dtype=torch.bool))
    assert images.shape == (3, 20) and texts.shape == (4, 20)
    for latents in (images, texts):
        assert_close(latents.norm(dim=-1), torch.ones(len(latents)))


def test_images_embed_alike_alone_and_together(mammut):
    shown = pixels(3)
    alone = torch.cat([mammut.encode_images(image[None]).latents for image in shown])
    assert_close(mammut.encode_images(shown).latents, alone, **close)
    assert (alone[0] - alone[1]).abs().max() > 1e-3


def test_a_texts_latent_does_not_depend_on_padding(new_mammut, new_ids):
    mammut, ids = new_mammut(), new_ids(2, 5)
    real = torch.ones(2, 5, dtype=torch.bool)
    padded, marks = torch.cat((ids, new_ids(2, 4)), dim=1), torch.cat((real, ~real[:, :4]), dim=1)
    assert_close(mammut.embed_texts(padded, marks), mammut.embed_texts(ids, real), **close)


@pytest.mark.parametrize("text_pass", TEXT_PASSES.values(), ids=TEXT_PASSES)
def test_what_stands_in_the_padding_of_a_text_does_not_matter(text_pass, new_mammut, new_ids):
    mammut, ids, other = new_mammut(text_pass=text_pass), new_ids(1, 8), new_ids(1, 8)
    real = torch.arange(8)[None] < 5
    refilled = torch.where(real, ids, other)
    assert_close(mammut.embed_texts(ids, real), mammut.embed_texts(refilled, real))


@pytest.mark.parametrize("text_pass", TEXT_PASSES.values(), ids=TEXT_PASSES)
@pytest.mark.parametrize("place", [0, 3, 5])
def test_a_texts_latent_depends_on_every_word(place, text_pass, new_mammut, new_ids):
    mammut, ids = new_mammut(text_pass=text_pass), new_ids(1, 6)
    other, real = ids.clone(), torch.ones(1, 6, dtype=torch.bool)
    other[0, place] = (ids[0, place] + 1) % 48
    assert (mammut.embed_texts(ids, real) - mammut.embed_texts(other, real)).abs().max() > 1e-3


def test_both_losses_are_finite_and_reach_every_weight_and_the_tower(mammut, new_ids):
    both = losses(mammut, new_ids)
    assert both.caption.isfinite() and both.contrastive.isfinite()
    (both.caption + both.contrastive).backward()
    assert [name for name, p in mammut.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert any(name.startswith("tower.") for name, _ in mammut.named_parameters())


def test_each_loss_alone_reaches_the_tower(mammut, new_ids):
    for name in ("caption", "contrastive"):
        mammut.zero_grad()
        getattr(losses(mammut, new_ids), name).backward()
        assert mammut.tower.to_patches.weight.grad.any()


def test_the_caption_loss_ignores_padding(new_mammut, new_ids):
    mammut, ids, labels = new_mammut(), new_ids(2, 6), new_ids(2, 6)
    features, real = mammut.encode_images(pixels(2)), torch.ones(2, 6, dtype=torch.bool)
    labels[1, 3:] = IGNORED
    kept = labels != IGNORED
    logits = mammut.logits(ids, features.memory).log_softmax(dim=-1)
    wanted = -logits[kept].gather(1, labels[kept][:, None]).mean()
    assert_close(mammut.losses(features, ids, labels, ids, real).caption, wanted)


def test_the_contrastive_loss_picks_each_pair_out_of_the_batch_both_ways(new_mammut, new_ids):
    mammut, ids, real = new_mammut(), new_ids(3, 6), torch.ones(3, 6, dtype=torch.bool)
    features = mammut.encode_images(pixels(3))
    similarity = mammut.scale * mammut.embed_texts(ids, real) @ features.latents.T
    chances = torch.stack([similarity.softmax(dim=axis).diagonal() for axis in (0, 1)])
    found = mammut.losses(features, ids, ids, ids, real).contrastive
    assert_close(found, -chances.log().mean(), **close)


def test_the_scale_starts_at_clips_and_stops_at_100(new_mammut):
    mammut = new_mammut()
    mammut.log_scale.data = torch.tensor(1 / 0.07).log()
    assert_close(mammut.scale, torch.tensor(1 / 0.07))
    mammut.log_scale.data = torch.tensor(50.0)
    assert_close(mammut.scale, torch.tensor(100.0))
