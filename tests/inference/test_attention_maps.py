"""What Flamingo looked at: weights are those of the pass, and reach the patches by the rollout's formula."""

from random import Random

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from palm_demo import world
from palm_demo.errors import MediaError, PromptError
from palm_demo.inference.attention_maps import (
    AttentionMaps,
    Gate,
    MediumAttention,
    compute_attention_maps,
    gates,
    rollout,
)
from palm_demo.models.resampler import PerceiverResampler

MEDIA = 3
PROMPT = [7, MEDIA, 9, MEDIA, 11]
ANSWER = [21, 22, 23]
LATENTS, PATCHES = 3, 4
every_rule = pytest.mark.parametrize("rule", ["immediate", "all"])


@pytest.fixture
def media():
    """A picture and a video of three frames."""
    return [torch.randn(3, 8, 8), torch.randn(3, 3, 8, 8)]


@pytest.fixture
def ids():
    return torch.tensor([[*PROMPT, *ANSWER]])


@every_rule
def test_weights_sum_to_one_over_what_a_token_sees_and_are_zero_before_any(rule, new_flamingo, ids, media):
    flamingo = new_flamingo(rule)
    for weights in flamingo.attention_weights(ids, flamingo.embed_media(media, ids)).values():
        seen = weights.unflatten(-1, (len(media), LATENTS)).sum(dim=-1)
        assert_close(weights[..., 0, :], torch.zeros_like(weights[..., 0, :]))
        assert_close(seen[..., 1:3, 0], torch.ones_like(seen[..., 1:3, 0]))
        assert_close(seen[..., 1:, :].sum(dim=-1), torch.ones_like(seen[..., 1:, 0]))
        hidden = seen[..., 3:, 0] if rule == "immediate" else seen[..., :3, 1]
        assert not hidden.any()


@every_rule
def test_the_output_of_cross_attention_is_its_values_weighed_so(rule, new_flamingo, new_ids):
    cross_attn = new_flamingo(rule).cross_attention["0"]
    states, latents = torch.randn(2, 5, 32), torch.randn(2, 6, 24)
    visible = torch.rand(2, cross_attn.attention.heads, 5, 6) > 0.5
    visible[0, :, 0] = False
    keys_values = cross_attn.keys_values(latents)
    weights = cross_attn.attention_weights(states, keys_values, visible)
    attn_out = (weights @ keys_values[1]).transpose(1, 2).flatten(2)
    assert_close(
        cross_attn.attention.to_out(attn_out),
        cross_attn.attention(cross_attn.norm(states), keys_values, visible),
    )


def test_the_output_of_the_resamplers_attention_is_its_values_weighed_so():
    (attention, _), *_ = PerceiverResampler(24, depth=1, heads=2, dim_head=8, num_latents=3).layers
    media, latents = torch.randn(2, 5, 24), torch.randn(2, 3, 24)
    both = torch.cat((attention.norm_media(media), attention.norm_latents(latents)), dim=1)
    values = attention.to_kv(both).chunk(2, dim=-1)[1].unflatten(-1, (2, 8)).transpose(1, 2)
    attn_out = (attention.attention_weights(media, latents) @ values).transpose(1, 2).flatten(2)
    assert_close(attention.to_out(attn_out), attention(media, latents))


def test_looking_changes_nothing(new_flamingo, ids, media):
    flamingo = new_flamingo()
    latents = flamingo.embed_media(media, ids)
    before = flamingo.logits(ids, latents)
    held = [set(vars(module)) for module in flamingo.modules()]
    compute_attention_maps(flamingo, PROMPT, ANSWER, flamingo.encoder.patches(media))
    assert torch.equal(before, flamingo.logits(ids, latents))
    assert held == [set(vars(module)) for module in flamingo.modules()]


def test_rollout_of_one_layer_is_its_attention_to_the_tokens():
    resampler = PerceiverResampler(24, depth=1, heads=2, dim_head=8, num_latents=3)
    tokens = torch.randn(2, 5, 24)
    (weights,) = resampler.attention_weights(tokens)
    to_tokens = weights.mean(dim=1)[..., :5]
    assert_close(rollout(resampler, tokens), to_tokens / to_tokens.sum(dim=-1, keepdim=True))


def test_rollout_of_two_layers_goes_through_the_latents_too():
    resampler = PerceiverResampler(24, depth=2, heads=2, dim_head=8, num_latents=3)
    tokens = torch.randn(2, 5, 24)
    first, second = (weights.mean(dim=1) for weights in resampler.attention_weights(tokens))
    once = first[..., :5] / 2
    twice = once / 2 + (second[..., :5] + second[..., 5:] @ once) / 2
    assert_close(rollout(resampler, tokens), twice / twice.sum(dim=-1, keepdim=True))


def test_a_map_is_the_weights_carried_to_the_patches_by_hand(new_flamingo, ids, media):
    flamingo = new_flamingo()
    _, (of_picture, of_video) = compute_attention_maps(
        flamingo, PROMPT, ANSWER, flamingo.encoder.patches(media)
    )
    assert of_picture.shape == (2, 3, 1, 2, 2) and of_video.shape == (2, 3, 3, 2, 2)

    weights = flamingo.attention_weights(ids, flamingo.embed_media(media, ids))
    patches = flamingo.encoder.tower(media[1]) + flamingo.encoder.frame_positions[:3, None]
    (resampled,) = flamingo.encoder.resampler.attention_weights(patches.reshape(1, 3 * PATCHES, 24))
    for layer, weight in weights.items():
        for token in range(len(ANSWER)):
            chosen_at = len(PROMPT) + token - 1
            by_hand = torch.zeros(3 * PATCHES)
            for latent in range(LATENTS):
                to_latent = weight[0, :, chosen_at, LATENTS + latent].mean()
                to_patches = resampled[0, :, latent, : 3 * PATCHES].mean(dim=0)
                by_hand += to_latent * to_patches / to_patches.sum()
            assert_close(torch.from_numpy(of_video[layer, token]).flatten(), by_hand)


def test_maps_of_all_media_sum_to_one_at_every_layer_and_token(new_flamingo, media):
    flamingo = new_flamingo()
    _, maps = compute_attention_maps(flamingo, PROMPT, ANSWER, flamingo.encoder.patches(media))
    together = sum(of_medium.sum(axis=(2, 3, 4)) for of_medium in maps)
    assert together == pytest.approx(np.ones((2, 3)), abs=1e-5)


def test_the_row_of_a_token_is_that_of_the_place_where_it_was_chosen(new_flamingo, media):
    flamingo = new_flamingo()
    patches = flamingo.encoder.patches(media)
    _, maps = compute_attention_maps(flamingo, PROMPT, ANSWER, patches)
    _, others = compute_attention_maps(flamingo, PROMPT, [*ANSWER[:-1], 30], patches)
    for one, other in zip(maps, others, strict=True):
        assert one == pytest.approx(other, abs=1e-6)


def test_gates_are_those_of_the_cross_attention_layers(new_flamingo):
    flamingo = new_flamingo()
    for gate, (layer, cross_attn) in zip(gates(flamingo), flamingo.cross_attention.items(), strict=True):
        assert gate.layer == int(layer)
        assert gate.attention == pytest.approx(cross_attn.attention_gate.tanh().item())
        assert gate.feed_forward == pytest.approx(cross_attn.ff_gate.tanh().item())


def test_looking_without_media_or_at_another_number_of_them_is_refused(new_flamingo, media):
    flamingo = new_flamingo()
    with pytest.raises(PromptError, match="no picture or video"):
        compute_attention_maps(flamingo, [7], ANSWER, [])
    with pytest.raises(PromptError, match="2 <media> marks but 1 media"):
        compute_attention_maps(flamingo, PROMPT, ANSWER, flamingo.encoder.patches(media[:1]))


def maps_of(*opens: float) -> AttentionMaps:
    """Two tokens; the first looks up at the first layer and down at the second, the other only down."""
    up, down = np.array([[1.0], [0.0]]), np.array([[0.0], [1.0]])
    maps = np.stack([np.stack([up, down]), np.stack([down, down])])[:, :, None]
    layers = tuple(Gate(2 * place, gate, 1.0) for place, gate in enumerate(opens))
    return AttentionMaps(
        (" a", " cat"), layers, (MediumAttention((Image.new("RGB", (2, 2)),), maps.astype(np.float32)),)
    )


def test_over_all_layers_each_weighs_as_much_as_its_gate_is_open():
    looked = maps_of(0.3, -0.1)
    assert looked.map(0, 0)[0] == pytest.approx(np.array([[0.75], [0.25]]))
    assert looked.map(0, 0, layer=2)[0].tolist() == [[0.0], [1.0]]
    assert looked.media_shares(1) == pytest.approx([1.0])
    assert maps_of(0.0, 0.0).map(0, 0)[0] == pytest.approx(np.array([[0.5], [0.5]]))


# the bundled weights


def test_a_session_tells_where_an_answer_looked(session):
    moving = world.moving_scene(Random("looking/moving"), "left")
    pictures = [world.render(world.single_scene(Random("looking/still")), 64), world.frames(moving, 16, 64)]
    looked = session.attention_maps(
        "<media> <media> question: which picture has a cat? answer:", pictures, "the first"
    )
    assert "".join(looked.tokens) == " the first"
    assert [gate.layer for gate in looked.gates] == [
        int(layer) for layer in session.flamingo.model.cross_attention
    ]
    assert [len(seen.frames) for seen in looked.media] == [1, session.flamingo.model.encoder.max_frames]
    for seen in looked.media:
        assert seen.maps.shape[:3] == (len(looked.gates), len(looked.tokens), len(seen.frames))
        assert seen.frames[0].size == (session.flamingo.model.encoder.tower.image_size,) * 2
    for token in range(len(looked.tokens)):
        assert sum(looked.media_shares(token)) == pytest.approx(1, abs=1e-4)


def test_frames_are_shown_as_the_tower_sees_them(session):
    wide = Image.new("RGB", (200, 100), "red")
    (seen,) = session.attention_maps("<media> caption:", [wide], "red").media
    middle, margin = (48, 48), (48, 4)
    assert seen.frames[0].getpixel(middle) == (255, 0, 0)
    assert seen.frames[0].getpixel(margin) == (255, 255, 255)


def test_an_empty_answer_and_a_missing_medium_are_refused(session):
    with pytest.raises(PromptError, match="answer is empty"):
        session.attention_maps("<media> caption:", [Image.new("RGB", (9, 9))], " ")
    with pytest.raises(PromptError, match="1 <media> mark"):
        session.attention_maps("<media> caption:", [], "a cat")
    with pytest.raises(PromptError, match="no picture or video"):
        session.attention_maps("caption:", [], "a cat")
    with pytest.raises(MediaError, match="no file"):
        session.attention_maps("<media> caption:", ["nowhere.png"], "a cat")
