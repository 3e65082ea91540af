"""Projections give what `linear` gives, packed or not, whatever becomes of their weights."""

import copy
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from palm_demo.models import packed_weights
from palm_demo.models.cpu_linear import FEW_ROWS, Projection, linear_in_fp32, pack_

every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
every_form = pytest.mark.parametrize("form", ["plain", "packed"])


def exact(x, weight):
    """The product in double precision."""
    return F.linear(x.double(), weight.double())


@pytest.fixture
def made():
    def make(dtype: torch.dtype, form: str = "packed") -> Projection:
        layer = Projection(48, 80).to(dtype).requires_grad_(False)
        return pack_(layer) if form == "packed" else layer

    return make


@every_dtype
@every_form
@pytest.mark.parametrize("shape", [(48,), (1, 48), (3, 1, 48), (FEW_ROWS, 48), (2, FEW_ROWS, 48), (0, 48)])
@torch.no_grad()
def test_it_is_linear(dtype, form, shape, made):
    layer, x = made(dtype, form), torch.randn(shape).to(dtype)
    out = layer(x)
    assert out.dtype == dtype and out.shape == (*shape[:-1], 80)
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    assert_close(out.double(), exact(x, layer.dense()), atol=tolerance, rtol=tolerance)


@torch.no_grad()
def test_half_precision_is_rounded_once_at_the_end(made):
    layer, x = made(torch.bfloat16), torch.randn(5, 48).bfloat16()
    assert_close(layer(x), exact(x, layer.dense()).bfloat16(), atol=0, rtol=2**-7)


@torch.no_grad()
def test_a_half_precision_row_differs_by_one_rounding_among_many(made):
    layer, x = made(torch.bfloat16), torch.randn(16, 48).bfloat16()
    assert_close(layer(x), torch.cat([layer(row[None]) for row in x]), atol=0, rtol=2**-7)


@pytest.mark.parametrize("rows", [1, 16])
@torch.no_grad()
def test_half_precision_can_come_out_unrounded(rows):
    weight, x = torch.randn(3000, 48).bfloat16(), torch.randn(rows, 48).bfloat16()
    out = linear_in_fp32(x, weight)
    assert out.dtype == torch.float32
    assert_close(out, exact(x, weight).float(), atol=1e-4, rtol=1e-4)


@every_dtype
@every_form
@torch.no_grad()
def test_a_changed_weight_is_seen_at_once(dtype, form, made):
    layer, x = made(dtype, form), torch.randn(1, 48).to(dtype)
    before = layer(x)
    layer.weight[:3] += 1
    assert_close(layer(x)[:, 3:], before[:, 3:], atol=3e-2, rtol=3e-2)
    assert_close(layer(x), F.linear(x, layer.weight), atol=3e-2, rtol=3e-2)
    layer.weight.data = torch.randn(80, 48).to(dtype)
    assert_close(pack_(layer)(x), F.linear(x, layer.dense()), atol=3e-2, rtol=3e-2)
    layer.weight = torch.nn.Parameter(torch.randn(80, 48).to(dtype))
    assert_close(pack_(layer)(x), F.linear(x, layer.dense()), atol=3e-2, rtol=3e-2)
    layer.load_state_dict({"weight": torch.zeros(80, 48)})
    assert not layer(x).any()
    pack_(layer).load_state_dict({"weight": torch.ones(80, 48, dtype=dtype)}, assign=True)
    assert_close(layer(x), F.linear(x, torch.ones(80, 48, dtype=dtype)), atol=3e-2, rtol=3e-2)


@torch.no_grad()
def test_another_dtype_is_seen_at_once(made):
    layer, x = made(torch.float32), torch.randn(1, 48)
    wanted = layer(x)
    assert_close(layer.bfloat16()(x.bfloat16()).float(), wanted, atol=3e-2, rtol=3e-2)
    assert_close(layer.float()(x), wanted, atol=3e-2, rtol=3e-2)


@every_dtype
def test_a_cast_or_move_that_changes_nothing_keeps_the_form(dtype, made):
    assert made(dtype).to(dtype).to("cpu").packed


@torch.no_grad()
def test_a_weight_beyond_half_precision_is_multiplied_all_the_same(made):
    layer, x = made(torch.bfloat16, "plain"), torch.ones(1, 48).bfloat16()
    layer.weight.fill_(1e6)
    assert_close(pack_(layer)(x), F.linear(x, layer.weight))


def test_gradients_flow_in_training(made):
    layer, x = made(torch.float32, "plain").requires_grad_(True), torch.randn(1, 48)
    with torch.no_grad():
        layer(x)
    layer(x).sum().backward()
    assert_close(layer.weight.grad, x.expand(80, 48))


@every_dtype
def test_gradients_flow_through_a_packed_weight(dtype, made):
    layer, x = made(dtype), torch.randn(3, 48).to(dtype).requires_grad_(True)
    layer(x).float().square().sum().backward()
    y = x.detach().clone().requires_grad_(True)
    F.linear(y, layer.dense()).float().square().sum().backward()
    assert_close(x.grad, y.grad, atol=5e-2 if dtype == torch.bfloat16 else 1e-4, rtol=5e-2)
    assert layer.packed


def test_autocast_decides_the_dtype_of_a_packed_weight_too(made):
    layer, plain = made(torch.float32), Projection(48, 80)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(3, 48, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(layer(x), plain(x))
        layer(x).sum().backward()
    assert x.grad.dtype == torch.float32 and layer(x.detach()).dtype == torch.float32


@every_dtype
@torch.no_grad()
def test_copies_files_and_pickles_have_the_weight(dtype, made, tmp_path):
    layer, x = made(dtype), torch.randn(1, 48).to(dtype)
    wanted, weight = layer(x), layer.dense()
    assert list(layer.state_dict()) == ["weight"]
    save_file(layer.state_dict(), tmp_path / "layer.safetensors")
    assert torch.equal(load_file(tmp_path / "layer.safetensors")["weight"], weight)
    torch.save(layer, tmp_path / "layer.pt")
    kept = torch.load(tmp_path / "layer.pt", weights_only=False)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), kept):
        assert torch.equal(other.weight, weight)
        assert torch.equal(pack_(other)(x), wanted)
    assert layer.packed


@every_dtype
def test_a_packed_weight_is_counted_as_before(dtype, made):
    packed, plain = made(dtype), made(dtype, "plain")
    assert [(p.numel(), p.nbytes, p.dtype) for p in packed.parameters()] == [
        (p.numel(), p.nbytes, p.dtype) for p in plain.parameters()
    ]
    assert not packed.requires_grad_(False).weight.requires_grad


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@torch.no_grad()
def test_a_forked_process_has_the_packed_weight_too(made):
    layer, x = made(torch.float32), torch.ones(1, 48)
    wanted = layer(x)
    child = os.fork()
    if not child:
        os._exit(0 if torch.equal(layer(x), wanted) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@every_dtype
@torch.no_grad()
def test_machines_without_these_libraries_use_linear(dtype, made, monkeypatch):
    monkeypatch.setattr(packed_weights, "ON_X86", False)
    layer, x = made(dtype), torch.randn(2, 48).to(dtype)
    assert not layer.packed
    assert torch.equal(layer(x), F.linear(x, layer.weight))


@torch.inference_mode()
def test_weights_made_in_inference_mode_work_too():
    layer, x = Projection(48, 80), torch.randn(1, 48)
    assert_close(layer(x), F.linear(x, layer.weight))
    assert_close(pack_(layer)(x), F.linear(x, layer.weight))


# one store


@every_dtype
@torch.no_grad()
def test_a_product_after_a_change_never_has_the_old_weight(dtype, made):
    """Many threads multiply all the while: none of them puts an old weight back."""
    layer, x = made(dtype), torch.ones(1, 48).to(dtype)
    over = threading.Event()

    def decode() -> None:
        with torch.no_grad():
            while not over.is_set():
                layer(x)

    with ThreadPoolExecutor(4) as threads:
        decoding = [threads.submit(decode) for _ in range(4)]
        try:
            for number in range(1, 150):
                layer.change_(lambda weight, number=number: torch.full_like(weight, number % 8))
                assert (layer(x) == 48 * (number % 8)).all()
        finally:
            over.set()
        for one in decoding:
            one.result()


@torch.no_grad()
def test_a_product_has_the_old_weight_or_the_new_and_no_mixture(made):
    layer, x = made(torch.float32), torch.ones(1, 48)
    layer.change_(torch.zeros_like)
    over, seen = threading.Event(), []

    def decode() -> None:
        with torch.no_grad():
            while not over.is_set():
                seen.append(layer(x))

    with ThreadPoolExecutor(2) as threads:
        decoding = [threads.submit(decode) for _ in range(2)]
        for number in range(200):
            layer.change_(lambda weight, number=number: torch.full_like(weight, number % 2))
        layer.weight  # noqa: B018 - unpacks it while others multiply
        pack_(layer)
        over.set()
        for one in decoding:
            one.result()
    assert all((out == out[0, 0]).all() for out in seen)
