"""Matrix-vector products at the speed of memory: what decoding on a CPU spends its time on.

For one row, torch's own `linear` reads fp32 weights with one thread, and bf16 ones slower than memory
gives them. Two libraries that come with torch come nearer to it with a weight laid out for them: oneDNN
in fp32, FBGEMM in fp16 (`python -m benchmarks.decoding` says how near decoding is). bf16 weights turn
into fp16 exactly (10 bits of mantissa for 7; below 6e-5 to within 3e-8), and products are summed in fp32.
From some rows on, oneDNN is the faster one in bf16 too, and what a row gives among others is the same as
alone up to rounding.
"""

import platform
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEW_ROWS = 64
"""Beyond these, weights are read once for many rows and `linear` is as fast."""

SEVERAL_ROWS = 8
"""From here on oneDNN's bf16 products are faster than FBGEMM's, which are fp32's."""

LARGEST_FP16 = 65_504.0
ON_X86 = platform.machine().lower() in ("x86_64", "amd64")


class Layout:
    """Copies of a weight, as each library wants it: made when first needed, and again when the weight
    has changed."""

    def __init__(self) -> None:
        self._key: tuple | None = None
        self._packed: dict[Callable, Any] = {}

    def __deepcopy__(self, memo: dict) -> "Layout":
        return Layout()

    def __reduce__(self) -> tuple:
        return Layout, ()

    def multiply(self, x: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """(..., k) times the (n, k) weight, transposed -> (..., n) of the dtype, with no gradient."""
        rows = x.reshape(-1, x.shape[-1])
        exact = len(rows) < SEVERAL_ROWS or dtype == torch.float32
        pack = _for_fbgemm if weight.dtype == torch.bfloat16 and exact else _for_onednn
        packed = self._kept(pack, weight)
        if packed is None:
            out = F.linear(rows, weight)
        elif pack is _for_fbgemm:
            out = torch.ops.quantized.linear_dynamic_fp16(rows.float(), packed)
        else:
            out = torch.ops.mkldnn._linear_pointwise(rows, packed, None, "none", [], "")
        return out.to(dtype).view(*x.shape[:-1], len(weight))

    def _kept(self, pack: Callable, weight: Tensor):
        key = weight.data_ptr(), weight.dtype, None if weight.is_inference() else weight._version
        if key != self._key:
            self._key, self._packed = key, {}
        if pack not in self._packed:
            self._packed[pack] = pack(weight.detach())
        return self._packed[pack]


def _for_onednn(weight: Tensor):
    """None where it cannot."""
    known = weight.dtype == torch.float32
    if weight.dtype == torch.bfloat16:
        known = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if known and torch.backends.mkldnn.is_available():
        return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), 16)  # tuned for 16 rows
    return None


def _for_fbgemm(weight: Tensor):
    """None where it cannot."""
    if "fbgemm" in torch.backends.quantized.supported_engines and weight.abs().max() < LARGEST_FP16:
        return torch.ops.quantized.linear_prepack_fp16(weight.float().contiguous(), None)
    return None


def project(x: Tensor, weight: Tensor, layout: Layout, decoded: torch.dtype | None = None) -> Tensor:
    """`linear(x, weight)`, by the layout where a few rows of a CPU's decoding ask for it.

    decoded: what comes out there; the dtype of x where it is None.
    """
    decoding = not torch.is_grad_enabled() and not torch.is_autocast_enabled(x.device.type)
    few = x.device.type == "cpu" and x.dtype == weight.dtype and 0 < x.numel() <= FEW_ROWS * x.shape[-1]
    if decoding and few and ON_X86:
        return layout.multiply(x, weight, decoded or x.dtype)
    return F.linear(x, weight)


class Projection(nn.Linear):
    """A linear map without bias that decodes at the speed of memory."""

    def __init__(self, dim_in: int, dim_out: int):
        super().__init__(dim_in, dim_out, bias=False)
        self.layout = Layout()

    def forward(self, x: Tensor) -> Tensor:
        return project(x, self.weight, self.layout)
