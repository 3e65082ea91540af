"""Flamingo: text that looks at the pictures and videos it has come past."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from palm_demo.errors import PromptError
from palm_demo.models.transformer import TransformerConfig

MEDIA = 3
MARKS = torch.full((5, 1), MEDIA)
"""Texts of one media token each."""
RULES = ("immediate", "all", "both")
SHALLOW = TransformerConfig(dim=32, depth=1, heads=2, vocab=48, dim_head=16, ff_mult=2)
close = {"atol": 1e-4, "rtol": 1e-4}
every_rule = pytest.mark.parametrize("rule", RULES)


def media(*frames: int) -> list[Tensor]:
    """Random videos of so many frames each; for one frame a picture."""
    return [torch.randn(count, 3, 8, 8) if count > 1 else torch.randn(3, 8, 8) for count in frames]


def text(new_ids, *marks: int, length: int = 10) -> Tensor:
    """(1, length) ids with media tokens at these places."""
    ids = new_ids(1, length)
    ids[0, list(marks)] = MEDIA
    return ids


def decoded(flamingo, ids: Tensor, latents: Tensor | None, prompt: int) -> Tensor:
    """(b, n - prompt, vocab) logits of the tokens after a prompt, one by one through the cache."""
    _, cache = flamingo.prefill(ids[:, :prompt], [prompt] * len(ids), ids.shape[1], latents)
    return torch.stack([flamingo.decode_step(ids[:, n], cache) for n in range(prompt, ids.shape[1])], dim=1)


def bare(flamingo, ids: Tensor) -> Tensor:
    """(b, n, vocab) logits of the language model as if it had no cross-attention."""
    return flamingo.decoder.logits(flamingo.decoder(flamingo.decoder.embedding(ids)))


# cache


@every_rule
@pytest.mark.parametrize("frames", [(1, 1), (3, 2), (1, 4)], ids=["images", "videos", "mixed"])
def test_cached_logits_match_full_forward(rule, frames, new_flamingo, new_ids):
    flamingo, ids = new_flamingo(rule), text(new_ids, 1, 4)
    latents = flamingo.embed_media(media(*frames), ids)
    full = flamingo.logits(ids, latents)
    logits, _ = flamingo.prefill(ids[:, :6], [6], 10, latents)
    assert_close(logits, full[:, 5], **close)
    assert_close(decoded(flamingo, ids, latents, prompt=6), full[:, 6:], **close)


@every_rule
@pytest.mark.parametrize("cut", [1, 3, 4, 5, 8])
@torch.no_grad()
def test_a_prompt_read_in_pieces_gives_what_it_gives_at_once(rule, cut, new_flamingo, new_ids):
    """Also where a piece ends before the first medium."""
    flamingo, ids = new_flamingo(rule), text(new_ids, 4, 6)
    latents = flamingo.embed_media(media(1, 3), ids)
    full = flamingo.logits(ids, latents)
    cache = flamingo.begin(ids, 10, latents)
    for start, end in ((0, cut), (cut, 10)):
        last = flamingo.step_beside(ids[0, :0], None, [(ids[0, start:end], cache)])
        assert_close(last[0], full[0, end - 1], **close)


@every_rule
def test_the_picture_is_still_seen_after_the_first_token(rule, new_flamingo, new_ids):
    flamingo, ids = new_flamingo(rule, size=SHALLOW), text(new_ids, 2)
    one, other = (decoded(flamingo, ids, flamingo.embed_media(media(1), ids), prompt=4) for _ in range(2))
    assert ((one - other).abs().amax(dim=-1) > 1e-2).all()


# who sees what


@every_rule
def test_text_before_the_first_medium_sees_nothing_of_it(rule, new_flamingo, new_ids):
    flamingo, ids = new_flamingo(rule), text(new_ids, 4)
    one, other = (flamingo.logits(ids, flamingo.embed_media(media(1), ids)) for _ in range(2))
    assert torch.equal(one[:, :4], other[:, :4])
    assert ((one - other)[:, 4:].abs().amax(dim=-1) > 1e-3).all()


@every_rule
def test_a_later_picture_does_not_change_earlier_logits(rule, new_flamingo, new_ids):
    flamingo, ids = new_flamingo(rule), text(new_ids, 1, 6)
    first, second, third = media(1, 3, 2)
    one, other = (flamingo.logits(ids, flamingo.embed_media([first, last], ids)) for last in (second, third))
    assert_close(one[:, :6], other[:, :6], atol=1e-6, rtol=0)
    assert ((one - other)[:, 6:].abs().amax(dim=-1) > 1e-3).all()


@pytest.mark.parametrize(
    ("rule", "heads"),
    [("immediate", [False] * 4), ("all", [True] * 4), ("both", [True, True, False, False])],
)
def test_a_head_sees_the_picture_before_the_last_where_the_rule_says_so(rule, heads, new_flamingo, new_ids):
    flamingo = new_flamingo(rule, size=TransformerConfig(dim=32, depth=2, heads=4, vocab=48, dim_head=8))
    ids = text(new_ids, 1, 5)
    weights = flamingo.attention_weights(ids, flamingo.embed_media(media(1, 1), ids))
    first, latents = slice(2, 5), len(flamingo.encoder.resampler.latents)
    for cross_attn in weights.values():
        of_first, of_last = cross_attn[0].split(latents, dim=-1)
        assert (of_first[:, first] > 0).all() and (of_last[:, first] == 0).all()
        assert (of_last[:, 5:] > 0).all()
        for head, of_all in enumerate(heads):
            assert (of_first[head, 5:] > 0).all() == of_all


def test_with_shut_gates_it_is_the_bare_language_model(new_flamingo, new_ids):
    flamingo, ids = new_flamingo(stir=False), text(new_ids, 1, 5)
    assert torch.equal(flamingo.logits(ids, flamingo.embed_media(media(1, 3), ids)), bare(flamingo, ids))


def test_text_alone_is_the_bare_language_model_whatever_was_learned(new_flamingo, new_ids):
    flamingo, ids = new_flamingo(), new_ids(2, 8)
    assert torch.equal(flamingo.logits(ids, None), bare(flamingo, ids))
    assert_close(decoded(flamingo, ids, None, prompt=3), bare(flamingo, ids)[:, 3:], **close)


@pytest.mark.parametrize(("every", "cross_attention"), [(1, 4), (2, 2), (3, 2)])
def test_cross_attention_stands_after_every_nth_block(every, cross_attention, new_flamingo, new_ids):
    size = TransformerConfig(dim=32, depth=4, heads=2, vocab=48, dim_head=16, ff_mult=2)
    flamingo, ids = new_flamingo(size=size, every=every), text(new_ids, 1)
    assert len(flamingo.cross_attention) == cross_attention
    flamingo.logits(ids, flamingo.embed_media(media(1), ids)).sum().backward()
    assert all(cross_attn.attention_gate.grad.any() for cross_attn in flamingo.cross_attention.values())


def test_no_pictures_at_all_are_as_text_alone(new_flamingo, new_ids):
    flamingo, ids = new_flamingo(), new_ids(2, 8)
    alone = bare(flamingo, ids)
    assert torch.equal(flamingo(ids, images=torch.zeros(2, 0, 3, 8, 8)), alone)
    assert torch.equal(flamingo.logits(ids, flamingo.embed_media([], ids)), alone)


@pytest.mark.parametrize(
    ("rule", "heads", "wrong"),
    [("seldom", 2, "'seldom'; it can be immediate, all, both"), ("both", 3, "3 heads.*multiple of 2")],
)
def test_a_media_rule_that_cannot_be_followed_is_refused(rule, heads, wrong, new_flamingo):
    size = TransformerConfig(dim=24, depth=1, heads=heads, vocab=48, dim_head=8)
    with pytest.raises(ValueError, match=wrong):
        new_flamingo(rule, size=size)


# batches


@every_rule
def test_a_row_of_a_batch_equals_the_row_alone(rule, new_flamingo, new_ids):
    flamingo = new_flamingo(rule)
    rows = [text(new_ids, 1, 5), text(new_ids, 3), new_ids(1, 10), text(new_ids, 0, 2, 4)]
    shown = [media(1, 3), media(2), [], media(1, 1, 4)]
    everything = [medium for some in shown for medium in some]
    together = flamingo.logits(torch.cat(rows), flamingo.embed_media(everything, torch.cat(rows)))
    for row, (ids, some) in enumerate(zip(rows, shown, strict=True)):
        alone = flamingo.logits(ids, flamingo.embed_media(some, ids) if some else None)
        assert_close(together[row], alone[0], **close)


@every_rule
def test_a_row_of_a_ragged_batch_decodes_as_the_row_alone(rule, new_flamingo, new_ids):
    flamingo, following = new_flamingo(rule), new_ids(3, 3)
    prompts = [text(new_ids, 1, 5, length=8), new_ids(1, 6), text(new_ids, 2, length=4)]
    shown = [media(1, 3), [], media(2)]
    ids = torch.zeros(3, 8, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, : prompt.shape[1]] = prompt
    latents = flamingo.embed_media([*shown[0], *shown[2]], ids)
    logits, cache = flamingo.prefill(ids, [8, 6, 4], 11, latents)
    together = torch.stack([logits, *(flamingo.decode_step(following[:, n], cache) for n in range(3))], dim=1)
    for row, (prompt, some) in enumerate(zip(prompts, shown, strict=True)):
        whole = torch.cat((prompt, following[row : row + 1]), dim=1)
        alone = flamingo.logits(whole, flamingo.embed_media(some, whole) if some else None)
        assert_close(together[row], alone[0, prompt.shape[1] - 1 :], **close)


def test_media_of_different_lengths_are_embedded_as_each_alone(new_flamingo):
    flamingo, some = new_flamingo(), media(1, 4, 1, 2, 4)
    alone = torch.cat([flamingo.embed_media([medium], MARKS[:1]) for medium in some])
    assert_close(flamingo.embed_media(some, MARKS[:5]), alone, **close)


# media


def test_the_order_of_a_videos_frames_matters(new_flamingo):
    flamingo, (video,) = new_flamingo(), media(3)
    there, back = flamingo.embed_media([video, video.flip(0)], MARKS[:2])
    assert (there - back).abs().max() > 1e-3


def test_a_picture_has_no_place_in_time(new_flamingo):
    flamingo, (picture, video) = new_flamingo(), media(1, 2)
    before = flamingo.embed_media([picture], MARKS[:1]), flamingo.embed_media([video], MARKS[:1])
    flamingo.encoder.frame_positions.data += 1 + torch.randn_like(flamingo.encoder.frame_positions)
    assert torch.equal(flamingo.embed_media([picture], MARKS[:1]), before[0])
    assert not torch.allclose(flamingo.embed_media([video], MARKS[:1]), before[1], atol=1e-2)


def test_patches_made_beforehand_give_the_same_latents(new_flamingo):
    flamingo, some = new_flamingo(), media(1, 3)
    patches = [flamingo.encoder.tower(some[0][None])[0], flamingo.encoder.tower(some[1])]
    assert_close(flamingo.embed_patches(patches, MARKS[:2]), flamingo.embed_media(some, MARKS[:2]))


def test_a_video_of_too_many_frames_is_refused_with_both_numbers(new_flamingo):
    with pytest.raises(PromptError, match="5 frames, at most 4"):
        new_flamingo().embed_media(media(1, 5), MARKS[:2])
    assert len(new_flamingo().embed_media(media(4), MARKS[:1])) == 1


@pytest.mark.parametrize(("marks", "given"), [(2, 1), (1, 2), (0, 1), (1, 0)])
def test_a_wrong_number_of_media_is_refused_with_both_counts(marks, given, new_flamingo, new_ids):
    flamingo, ids = new_flamingo(), text(new_ids, *range(marks))
    latents = flamingo.embed_media(media(*[1] * given), MARKS[:given]) if given else None
    said = f"{marks} <media> marks but {given} media"
    with pytest.raises(PromptError, match=said):
        flamingo.logits(ids, latents)
    with pytest.raises(PromptError, match=said):
        flamingo.prefill(ids, [10], 12, latents)


# learning


def test_only_what_stands_between_text_and_pictures_learns(new_flamingo, new_ids):
    flamingo, ids = new_flamingo(), text(new_ids, 1, 5)
    flamingo.logits(ids, flamingo.embed_media(media(1, 4), ids)).square().mean().backward()
    learning = {name for name, p in flamingo.named_parameters() if p.grad is not None and p.grad.any()}
    everything = {name for name, _ in flamingo.named_parameters()}
    frozen = {name for name in everything if name.startswith(("decoder.", "encoder.tower."))}
    assert learning == everything - frozen
    assert {name.removeprefix("encoder.").split(".")[0] for name in learning} == {
        "resampler",
        "cross_attention",
        "frame_positions",
        "places",
        "media_embedding",
    }
    assert {id(p) for p in flamingo.parameters() if p.requires_grad} == {
        id(p) for name, p in flamingo.named_parameters() if name in learning
    }


def test_the_tower_stays_in_eval_mode_after_train(new_flamingo):
    flamingo, some = new_flamingo(), media(1, 2)
    before = flamingo.embed_media(some, MARKS[:2])
    flamingo.train()
    assert flamingo.cross_attention.training
    assert not any(module.training for module in flamingo.encoder.tower.modules())
    assert torch.equal(flamingo.embed_media(some, MARKS[:2]), before)
    assert not any(
        p.requires_grad for p in (*flamingo.encoder.tower.parameters(), *flamingo.decoder.parameters())
    )


def test_training_leaves_the_language_model_as_it_was(new_flamingo, new_ids):
    flamingo, ids = new_flamingo().train(), text(new_ids, 1)
    before = bare(flamingo, ids)
    optimizer = torch.optim.AdamW(flamingo.parameters(), lr=0.1, weight_decay=0.1)
    flamingo.logits(ids, flamingo.embed_media(media(2), ids)).square().mean().backward()
    optimizer.step()
    assert torch.equal(bare(flamingo, ids), before)


def test_a_forward_pass_leaves_no_picture_behind(new_flamingo, new_ids):
    flamingo, ids = new_flamingo(), text(new_ids, 1)
    latents = flamingo.embed_media(media(1), ids)
    first = flamingo.logits(ids, latents)
    flamingo.logits(ids, flamingo.embed_media(media(3), ids))
    assert torch.equal(flamingo.logits(ids, latents), first)


def test_more_media_than_places_are_refused_with_both_numbers(new_flamingo, new_ids):
    flamingo, ids = new_flamingo("all"), text(new_ids, *range(9))
    with pytest.raises(PromptError, match="9 media, at most 8"):
        flamingo.logits(ids, flamingo.embed_media(media(*[1] * 9), ids))


def test_the_same_picture_in_another_place_is_told_apart(new_flamingo, new_ids):
    flamingo, ids = new_flamingo("all"), text(new_ids, 0, 1)
    one, other = media(1, 1)
    swapped = [flamingo.logits(ids, flamingo.embed_media(pair, ids)) for pair in ((one, other), (other, one))]
    assert ((swapped[0] - swapped[1])[:, 2:].abs().amax(dim=-1) > 1e-3).all()
