"""What we use of torch's private operators: packed weights multiply right and come back bit for bit."""

import re

import pytest
import torch
from torch.testing import assert_close

from palm_demo.models import packed_weights

on_x86 = pytest.mark.skipif(not packed_weights.ON_X86, reason="other processors multiply weights as they are")
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])


def bits(weight: torch.Tensor) -> torch.Tensor:
    return weight.view(torch.int32 if weight.dtype == torch.float32 else torch.int16)


@on_x86
@every_dtype
@pytest.mark.parametrize("shape", [(80, 48), (5, 3), (17, 33), (1, 1), (64, 1)])
@pytest.mark.parametrize("rows", [1, 2, 7, 16, 300])
def test_a_packed_weight_multiplies_as_the_weight(dtype, shape, rows):
    weight, x = torch.randn(shape).to(dtype), torch.randn(rows, shape[1]).to(dtype)
    packed = packed_weights.pack(weight)
    assert packed.shape == weight.shape and packed.dtype == dtype
    wanted = x.double() @ weight.double().T
    tolerance = 1e-4 if dtype == torch.float32 else 2e-2
    assert_close(packed.multiply(x).double(), wanted, atol=tolerance, rtol=tolerance)


@on_x86
@every_dtype
@pytest.mark.parametrize("scale", [1.0, 1e-3, 30.0])
def test_a_packed_weight_comes_back_bit_for_bit(dtype, scale):
    weight = (scale * torch.randn(96, 64)).to(dtype)
    weight[0, :4] = torch.tensor([0.0, -0.0, 1e-7, -3e-6])
    assert torch.equal(bits(packed_weights.pack(weight).dense()), bits(weight))


@on_x86
def test_fp32_sums_come_out_unrounded():
    weight, x = torch.randn(80, 48).bfloat16(), torch.randn(3, 48).bfloat16()
    out = packed_weights.pack_for_fp32_sums(weight).multiply(x)
    assert out.dtype == torch.float32
    assert_close(out.double(), x.double() @ weight.double().T, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("value", [1e6, float("nan"), float("inf"), 1e-8])
def test_what_fp16_cannot_hold_is_not_put_into_it(value):
    assert packed_weights.pack_for_fp32_sums(torch.full((8, 8), value).bfloat16()) is None


@on_x86
@every_dtype
@pytest.mark.parametrize("rows", [1, 2, 16, 300])
def test_a_weight_in_8_bits_multiplies_nearly_as_the_weight(dtype, rows):
    weight, x = torch.randn(96, 256).to(dtype), torch.randn(rows, 256).to(dtype)
    weight[3], x[0, :5] = 0, 0
    packed = packed_weights.pack_in_8_bits(weight)
    assert packed.shape == weight.shape and packed.dtype == packed.dense().dtype == dtype
    largest = weight.abs().amax(dim=1, keepdim=True)
    assert ((packed.dense() - weight).abs() <= largest / 127 * 0.5 + largest * 2**-8).all()
    out, wanted = packed.multiply(x), x.double() @ weight.double().T
    assert (out - wanted).norm() < 0.03 * wanted.norm()
    assert not out[:, 3].any()


@on_x86
def test_in_8_bits_no_row_changes_another():
    packed = packed_weights.pack_in_8_bits(torch.randn(96, 256))
    x = torch.randn(5, 256) * torch.tensor([1e-6, 1, 1e6, 1, 0])[:, None]
    alone = torch.cat([packed.multiply(row[None]) for row in x])
    assert torch.equal(packed.multiply(x), alone)
    x[1, 7], x[3, 8] = torch.nan, torch.inf
    spoiled = packed.multiply(x)
    assert not spoiled[[1, 3]].isfinite().any() and torch.equal(spoiled[[0, 2, 4]], alone[[0, 2, 4]])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_8_bits_cannot_hold_is_not_put_into_them(value):
    assert packed_weights.pack_in_8_bits(torch.full((8, 8), value)) is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64], ids=str)
def test_other_dtypes_stay_as_they_are(dtype):
    assert packed_weights.pack(torch.randn(8, 8, dtype=dtype)) is None
    assert not packed_weights.multiplies_plain(torch.randn(8, 8, dtype=dtype))


@on_x86
@pytest.mark.parametrize("rows", [1, 3, 40])
def test_onednn_multiplies_a_weight_as_it_is(rows):
    weight, x = torch.randn(80, 48), torch.randn(rows, 48)
    assert packed_weights.multiplies_plain(weight)
    assert_close(packed_weights.multiply_plain(x, weight), x @ weight.T)


def test_a_mapped_table_has_the_same_rows_and_is_written_to_in_memory_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    table = torch.randn(1000, 600).bfloat16()
    lying = packed_weights.mapped(table)
    assert lying is not table and torch.equal(lying, table)
    lying[5] = 1
    assert torch.equal(lying[6:], table[6:]) and not torch.equal(lying[5], table[5])
    assert not list(tmp_path.iterdir())


def test_a_table_stays_in_memory_where_no_file_can_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    table = torch.randn(1000, 600)
    assert packed_weights.mapped(table) is table


def test_a_table_that_does_not_fit_on_the_disk_leaves_no_file(tmp_path, monkeypatch):
    resource = pytest.importorskip("resource")  # not on Windows
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    table = torch.randn(4000, 600)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (table.nbytes // 2, limits[1]))
    try:
        assert packed_weights.mapped(table) is table
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_no_other_file_calls_private_operators_of_torch(assets):
    modules = (assets.parent / "palm_demo").rglob("*.py")
    private = re.compile(r"torch\.(ops\.|_C\b|backends\.(mkldnn|quantized))")
    calling = {path.name for path in modules if private.search(path.read_text("utf-8"))}
    assert calling == {"packed_weights.py"}
