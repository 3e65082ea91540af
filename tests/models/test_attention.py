"""Who sees whom."""

import torch
from torch.testing import assert_close

from palm_demo.models import attention
from palm_demo.models.attention import CausalMask, VisibleMask, masked_attention
from palm_demo.models.layers import RLHF
from palm_demo.models.transformer import Decoder, TransformerConfig


def heads(n: int, count: int = 2) -> torch.Tensor:
    return torch.randn(1, count, n, 8)


def test_a_query_that_sees_nothing_gets_exactly_zero():
    mask = torch.tensor([[True, True, False], [False, False, False]])
    out = masked_attention(heads(2), heads(3), heads(3), mask[None, None], scale=0.3)
    assert torch.equal(out[:, :, 1], torch.zeros(1, 2, 8))
    assert out[:, :, 0].abs().min() > 0


def test_a_query_that_sees_nothing_gives_finite_gradients():
    queries, keys, values = (heads(3).requires_grad_() for _ in range(3))
    mask = torch.tensor([[False, False, False], [True, False, False], [True, True, True]])
    masked_attention(queries, keys, values, mask[None, None], scale=0.3).sum().backward()
    assert all(t.grad.isfinite().all() for t in (queries, keys, values))
    assert torch.equal(queries.grad[:, :, 0], torch.zeros(1, 2, 8))


def test_a_masked_query_averages_what_it_may_see():
    queries, keys, values = heads(1), heads(4), heads(4)
    mask = torch.tensor([True, False, True, True])
    weights = (queries @ keys[:, :, mask].transpose(-1, -2) * 0.3).softmax(dim=-1)
    out = masked_attention(queries, keys, values, mask[None, None, None], scale=0.3)
    assert_close(out, weights @ values[:, :, mask])


def test_causal_equals_visible_with_a_triangular_mask():
    queries, keys, values = heads(6), heads(6, count=1), heads(6, count=1)
    triangle = torch.ones(1, 6, 6, dtype=torch.bool).tril()
    causal = CausalMask()(queries, keys, values, 0.3)
    assert_close(causal, VisibleMask(triangle)(queries, keys, values, 0.3))
    assert not torch.allclose(causal, VisibleMask(~torch.zeros_like(triangle))(queries, keys, values, 0.3))


def test_plain_products_attend_and_learn_as_the_fused_kernel(monkeypatch):
    grown = []
    for plain_tokens in (0, 512):
        monkeypatch.setattr(attention, "MATMUL_TOKENS", plain_tokens)
        torch.manual_seed(0)
        parts = [t.bfloat16().requires_grad_() for t in (heads(9, 3), heads(9, 1), heads(9, 1))]
        out = CausalMask()(*parts, 0.3)
        out.float().square().sum().backward()
        grown.append([out, *(t.grad for t in parts)])
    for fused, plain in zip(*grown, strict=True):
        assert_close(fused, plain, rtol=0.05, atol=0.05)


def test_future_tokens_do_not_influence_the_past():
    decoder = Decoder(TransformerConfig(dim=32, depth=2, heads=2, vocab=8, dim_head=16), RLHF)
    states = torch.randn(1, 8, 32)
    changed = torch.cat((states[:, :5], torch.randn(1, 3, 32)), dim=1)
    before, after = decoder(states), decoder(changed)
    assert_close(before[:, :5], after[:, :5])
    assert (before[:, 5:] - after[:, 5:]).abs().min() > 0


def test_keys_behind_a_mask_do_not_influence_anyone():
    decoder = Decoder(TransformerConfig(dim=32, depth=2, heads=2, vocab=8, dim_head=16), RLHF)
    states = torch.randn(1, 8, 32)
    changed = torch.cat((states[:, :5], torch.randn(1, 3, 32)), dim=1)
    pattern = VisibleMask((torch.arange(8) < 5)[None, None])
    assert_close(decoder(states, pattern)[:, :5], decoder(changed, pattern)[:, :5])
