"""Projections of a few rows give what `linear` gives, whatever becomes of their weights."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from palm_demo import projection
from palm_demo.projection import FEW_ROWS, SEVERAL_ROWS, Layout, Projection, project

every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])


def exact(x, weight):
    """The product in double precision."""
    return F.linear(x.double(), weight.double())


@pytest.fixture
def made():
    def make(dtype: torch.dtype) -> Projection:
        return Projection(48, 80).to(dtype).requires_grad_(False)

    return make


@every_dtype
@pytest.mark.parametrize("shape", [(48,), (1, 48), (3, 1, 48), (FEW_ROWS, 48), (2, FEW_ROWS, 48)])
@torch.no_grad()
def test_it_is_linear(dtype, shape, made):
    layer, x = made(dtype), torch.randn(shape).to(dtype)
    out = layer(x)
    assert out.dtype == dtype and out.shape == (*shape[:-1], 80)
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    assert_close(out.double(), exact(x, layer.weight), atol=tolerance, rtol=tolerance)


@torch.no_grad()
def test_half_precision_is_rounded_once_at_the_end(made):
    """Weights turn into fp16 exactly and sums are fp32, so only the result is rounded."""
    layer, x = made(torch.bfloat16), torch.randn(5, 48).bfloat16()
    assert_close(layer(x), exact(x, layer.weight).bfloat16(), atol=0, rtol=2**-7)


@torch.no_grad()
def test_a_half_precision_row_has_the_same_bits_alone_and_among_a_few(made):
    layer, x = made(torch.bfloat16), torch.randn(SEVERAL_ROWS - 1, 48).bfloat16()
    assert torch.equal(layer(x), torch.cat([layer(row[None]) for row in x]))


@torch.no_grad()
def test_a_half_precision_row_differs_by_one_rounding_among_many(made):
    layer, x = made(torch.bfloat16), torch.randn(16, 48).bfloat16()
    assert_close(layer(x), exact(x, layer.weight).bfloat16(), atol=0, rtol=2**-7)


@pytest.mark.parametrize("rows", [1, 16])
@torch.no_grad()
def test_half_precision_can_come_out_unrounded(rows, made):
    layer, x = made(torch.bfloat16), torch.randn(rows, 48).bfloat16()
    out = project(x, layer.weight, Layout(), decoded=torch.float32)
    assert out.dtype == torch.float32
    assert_close(out, exact(x, layer.weight).float(), atol=1e-4, rtol=1e-4)


@every_dtype
@torch.no_grad()
def test_a_changed_weight_is_seen_at_once(dtype, made):
    layer, x = made(dtype), torch.randn(1, 48).to(dtype)
    before = layer(x)
    layer.weight[:3] += 1
    assert_close(layer(x)[:, 3:], before[:, 3:])
    assert_close(layer(x), F.linear(x, layer.weight), atol=3e-2, rtol=3e-2)
    layer.weight.data = torch.randn(80, 48).to(dtype)
    assert_close(layer(x), F.linear(x, layer.weight), atol=3e-2, rtol=3e-2)
    layer.load_state_dict({"weight": torch.zeros(80, 48)})
    assert not layer(x).any()


@torch.no_grad()
def test_another_dtype_is_seen_at_once(made):
    layer, x = made(torch.float32), torch.randn(1, 48)
    wanted = layer(x)
    assert_close(layer.bfloat16()(x.bfloat16()).float(), wanted, atol=3e-2, rtol=3e-2)
    assert_close(layer.float()(x), wanted, atol=3e-2, rtol=3e-2)


@torch.no_grad()
def test_a_weight_beyond_half_precision_is_multiplied_all_the_same(made):
    layer, x = made(torch.bfloat16), torch.ones(1, 48).bfloat16()
    layer.weight.fill_(1e6)
    assert_close(layer(x), F.linear(x, layer.weight))


def test_gradients_flow_in_training(made):
    layer, x = made(torch.float32).requires_grad_(True), torch.randn(1, 48)
    with torch.no_grad():
        layer(x)
    layer(x).sum().backward()
    assert_close(layer.weight.grad, x.expand(80, 48))


@torch.no_grad()
def test_copies_and_files_leave_the_second_layout_behind(made):
    layer, x = made(torch.bfloat16), torch.randn(1, 48).bfloat16()
    wanted = layer(x)
    assert list(layer.state_dict()) == ["weight"]
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(x), wanted)


@every_dtype
@torch.no_grad()
def test_machines_without_these_libraries_use_linear(dtype, made, monkeypatch):
    layer, x = made(dtype), torch.randn(2, 48).to(dtype)
    for library in ("_for_onednn", "_for_fbgemm"):
        monkeypatch.setattr(projection, library, lambda weight: None)
    assert torch.equal(layer(x), F.linear(x, layer.weight))
    monkeypatch.setattr(projection, "ON_X86", False)
    assert torch.equal(layer(x), F.linear(x, layer.weight))


@torch.inference_mode()
def test_weights_made_in_inference_mode_work_too():
    layer, x = Projection(48, 80), torch.randn(1, 48)
    assert_close(layer(x), F.linear(x, layer.weight))
