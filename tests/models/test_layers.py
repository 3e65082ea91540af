"""The parts of a decoder, one idea of a paper each."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from palm_demo.models.attention import CausalMask
from palm_demo.models.layers import (
    MULTIMODAL,
    RLHF,
    RLHF_QK_NORM,
    STYLES,
    TOOLFORMER,
    LayerNorm,
    NormalizedQK,
    PlainQK,
    RMSNorm,
    RoPE,
    SwiGLU,
    XPos,
)
from palm_demo.models.transformer import Decoder, ParallelBlock, TransformerConfig

SIZE = TransformerConfig(dim=32, depth=2, heads=2, vocab=48, dim_head=16, ff_mult=2)
every_style = pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)


def products(rotary: RoPE, queries: torch.Tensor, keys: torch.Tensor, positions: torch.Tensor):
    """What each query at its position makes of each key at its own."""
    queries, keys = rotary(positions, heads=1)(torch.stack((queries, keys), dim=1)).unbind(dim=1)
    return queries @ keys.T


def test_layer_norm_centres_and_scales_and_has_no_bias():
    norm = LayerNorm(64)
    x = torch.randn(3, 64) * 7 + 5
    assert_close(norm(x).mean(dim=-1), torch.zeros(3), atol=1e-5, rtol=0)
    assert_close(norm(x).std(dim=-1, correction=0), torch.ones(3), atol=1e-4, rtol=0)
    assert len(list(norm.parameters())) == 1


def test_rms_norm_scales_without_centring():
    x = torch.randn(3, 64) * 7 + 5
    assert_close(RMSNorm(64)(x), x / x.pow(2).mean(dim=-1, keepdim=True).sqrt())


def test_rms_norm_of_nothing_is_nothing():
    assert torch.equal(RMSNorm(8)(torch.zeros(2, 8)), torch.zeros(2, 8))


def test_swiglu_reads_values_first_and_gates_second():
    values, gates = torch.randn(2, 5, 8)
    assert_close(SwiGLU()(torch.cat((values, gates), dim=-1)), values * gates * gates.sigmoid())


@pytest.mark.parametrize("rotary", [RoPE(16), XPos(16)], ids=["rope", "xpos"])
def test_rotated_products_depend_on_the_distance_alone(rotary):
    queries, keys = torch.randn(2, 6, 16)
    near = products(rotary, queries, keys, torch.arange(6))
    far = products(rotary, queries, keys, torch.arange(400, 406))
    assert_close(near, far, atol=1e-3, rtol=1e-3)
    assert not torch.allclose(near, queries @ keys.T, atol=1e-2)


def test_rope_turns_and_never_stretches():
    x = torch.randn(9, 2, 16)
    turned = RoPE(16)(torch.arange(9), heads=1)(x)
    assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(turned[0], x[0])


def test_rope_turns_each_pair_at_its_own_speed():
    """Against the paper's formula in double precision."""
    positions, pairs = torch.arange(1024), torch.arange(8)
    angles = positions[:, None].double() * 10_000.0 ** (-2.0 * pairs.double() / 16)
    rotation = RoPE(16)(positions, heads=1)
    assert_close(rotation.cos[:, 0, :8].double(), angles.cos(), atol=1e-3, rtol=0)
    assert_close(rotation.sin[:, 0, 8:].double(), angles.sin(), atol=1e-3, rtol=0)


def test_xpos_products_fade_with_distance_as_the_paper_says():
    distance, pair = 300, 2
    x = torch.zeros(distance + 1, 16)
    x[:, pair] = 1.0
    decay = ((2 * pair + 0.4 * 16) / (1.4 * 16)) ** (distance / 512)
    positions = torch.arange(distance + 1)
    plain, faded = (products(rotary(16), x, x, positions)[-1, 0] for rotary in (RoPE, XPos))
    assert_close(faded, plain * decay, atol=1e-4, rtol=1e-3)


@every_style
def test_positions_stay_distinct_when_the_model_is_cast_to_bfloat16(style):
    decoder = Decoder(SIZE, style).to(torch.bfloat16)
    rotation = decoder.rotary(torch.arange(1024), heads=2)
    assert rotation.cos.dtype == torch.float32
    assert len(torch.cat((rotation.cos, rotation.sin), dim=-1).unique(dim=0)) == 1024


@every_style
def test_a_pass_in_inference_mode_does_not_spoil_later_learning(style):
    decoder = Decoder(SIZE, style)
    states = torch.randn(1, 6, 32)
    with torch.inference_mode():
        decoder(states.clone())
    decoder.logits(decoder(states)).sum().backward()
    assert all(p.grad is not None for name, p in decoder.named_parameters() if "blocks" in name)


@every_style
def test_a_block_is_attention_and_feed_forward_side_by_side(style):
    block = ParallelBlock(SIZE, style)
    states = torch.randn(1, 5, 32)
    rotation = style.rotary(16)(torch.arange(5), heads=2)
    normed = block.norm(states)
    parts = F.linear(normed, block.fused.weight).split((*block.inputs, block.ff_width), dim=-1)
    *queries, keys = rotation(block.qk(torch.cat(parts[:2], dim=-1).unflatten(-1, (3, 16)))).unbind(dim=-2)
    heads = []
    for turned in queries:
        scale = 8.0 if isinstance(block.qk, NormalizedQK) else 16**-0.5
        scores = turned @ keys.transpose(-1, -2) * scale
        scores = scores.masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf)
        heads.append(scores.softmax(dim=-1) @ parts[2])
    wanted = block.attention_out(torch.cat(heads, dim=-1)) + block.ff_out(block.activation(parts[3]))
    assert_close(block(states, rotation, CausalMask(), None), wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("style", [RLHF_QK_NORM, RLHF], ids=["qk-norm", "plain"])
def test_qk_norm_ignores_how_long_queries_are(style, new_palm, new_ids):
    palm, ids = new_palm(style), new_ids(1, 6)
    before = palm(ids)
    for block in palm.decoder.blocks:
        block.fused.weight.data[: block.inputs[0]] *= 10
    assert torch.allclose(palm(ids), before, atol=1e-4) == (style is RLHF_QK_NORM)


def test_plain_qk_changes_nothing():
    qk = torch.randn(1, 4, 3, 16)
    assert torch.equal(PlainQK(16)(qk), qk)


def test_a_tied_head_reads_the_embedding():
    decoder = Decoder(SIZE, MULTIMODAL)
    states = torch.randn(2, 32)
    assert_close(decoder.logits(states), decoder.norm(states) @ decoder.embedding.weight.T)


def test_toolformers_head_is_its_own_and_has_a_bias():
    decoder = Decoder(SIZE, TOOLFORMER)
    states = torch.randn(2, 32)
    before = decoder.logits(states)
    decoder.embedding.weight.data.zero_()
    assert torch.equal(decoder.logits(states), before)
    decoder.head.projection.bias.data += 1
    assert_close(decoder.logits(states), before + 1)


@every_style
def test_states_seen_between_blocks_are_not_overwritten_by_later_blocks(style):
    seen, kept = [], []

    def look(states):
        seen.append(states)
        kept.append(states.clone())
        return states

    with torch.no_grad():
        Decoder(SIZE, style)(torch.randn(1, 4, 32), cross_attention={0: look, 1: look})
    assert len(seen) == 2
    assert all(torch.equal(a, b) for a, b in zip(seen, kept, strict=True))


def test_styles_are_found_by_the_name_that_checkpoints_store():
    assert list(STYLES) == ["toolformer", "rlhf", "rlhf-qk-norm", "multimodal"]
    assert STYLES["rlhf"] is RLHF and all(style.name == name for name, style in STYLES.items())
