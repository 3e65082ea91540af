"""PaLM: a causal language model and an encoder from the same blocks."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from palm_demo.models import PaLM, PaLMEncoder
from palm_demo.models.layers import MULTIMODAL, STYLES, TOOLFORMER
from palm_demo.models.losses import IGNORED

every_style = pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
close = {"atol": 1e-4, "rtol": 1e-4}


@every_style
def test_an_encoder_sees_both_ways_and_a_decoder_does_not(style, new_palm, new_ids):
    ids = new_ids(1, 6)
    other = torch.cat((ids[:, :-1], (ids[:, -1:] + 1) % 48), dim=1)
    for kind, sees_ahead in ((PaLMEncoder, True), (PaLM, False)):
        palm = new_palm(style, kind)
        change = (palm(ids)[:, 0] - palm(other)[:, 0]).abs().max()
        assert (change > 1e-3) == sees_ahead


@every_style
def test_an_encoder_does_not_see_padding(style, new_palm, new_ids):
    encoder, ids = new_palm(style, PaLMEncoder), new_ids(2, 6)
    padded = torch.cat((ids, torch.full((2, 3), -100)), dim=1)
    assert_close(encoder(padded)[:, :6], encoder(ids), **close)


def test_an_encoders_padding_may_stand_anywhere(new_palm, new_ids):
    encoder, ids = new_palm(kind=PaLMEncoder), new_ids(2, 6)
    ids[0, :2], ids[1, 3] = -1, -7
    real = ids >= 0
    shifted = torch.stack((ids[0].roll(-2), ids[1]))
    assert_close(encoder(ids)[0, 2:], encoder(shifted)[0, :4], **close)
    refilled = torch.where(real, ids, torch.tensor(-3))
    assert torch.equal(encoder(refilled)[real], encoder(ids)[real])


def test_extra_embed_is_added_to_the_token_embeddings(new_palm, new_ids):
    palm, ids, others = new_palm(), new_ids(1, 6), new_ids(1, 6)
    embedding = palm.decoder.embedding.weight
    moved = palm(ids, extra_embed=embedding[others] - embedding[ids])
    assert_close(moved, palm(others), **close)
    assert not torch.allclose(moved, palm(ids), atol=1e-2)


@every_style
def test_embeddings_are_what_the_head_reads(style, new_palm, new_ids):
    palm, ids = new_palm(style), new_ids(2, 5)
    states = palm.embed(ids)
    assert states.shape == (2, 5, 32)
    assert_close(palm.decoder.head(states, palm.decoder.embedding), palm(ids))


def test_the_loss_is_the_mean_over_labels_that_are_not_ignored(new_palm, new_ids):
    palm, ids, labels = new_palm(), new_ids(2, 6), new_ids(2, 6)
    labels[0, :4], labels[1, 5] = IGNORED, IGNORED
    kept = labels != IGNORED
    wanted = -palm(ids).log_softmax(dim=-1)[kept].gather(1, labels[kept][:, None]).mean()
    assert_close(palm.loss(ids, labels), wanted)


def test_every_id_can_be_learned_also_the_first(new_palm, new_ids):
    palm, ids = new_palm(), new_ids(1, 4)
    labels = torch.tensor([[0, 1, 2, 47]])
    assert_close(palm.loss(ids, labels), F.cross_entropy(palm(ids)[0], labels[0]))


@every_style
def test_gradients_reach_every_weight(style, new_palm, new_ids):
    palm = new_palm(style)
    palm.loss(new_ids(2, 6), new_ids(2, 6)).backward()
    assert [name for name, p in palm.named_parameters() if p.grad is None or not p.grad.any()] == []


@every_style
def test_a_forward_pass_changes_nothing(style, new_palm, new_ids):
    palm, ids = new_palm(style), new_ids(1, 6)
    before = {name: t.clone() for name, t in palm.state_dict().items()}
    first = palm(ids)
    assert torch.equal(palm(ids), first)
    after = palm.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[n], after[n]) for n in before)


def test_toolformers_head_learns_apart_from_its_embedding(new_palm, new_ids):
    ids, labels = new_ids(1, 4), torch.full((1, 4), 5)
    unused = sorted({*range(48)} - {*ids.flatten().tolist()})
    for style, apart in ((TOOLFORMER, True), (MULTIMODAL, False)):
        palm = new_palm(style)
        palm.loss(ids, labels).backward()
        assert (not palm.decoder.embedding.weight.grad[unused].any()) == apart


def test_a_frozen_model_gets_no_gradients(new_palm, new_ids):
    palm = new_palm().freeze_()
    assert not palm.loss(new_ids(1, 4), new_ids(1, 4)).requires_grad
