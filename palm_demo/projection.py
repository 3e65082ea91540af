"""Matrix-vector products at the speed of memory: what decoding on a CPU spends its time on.

For one row, torch's own `linear` reads fp32 weights with one thread, and bf16 ones at half of what
memory gives. Two libraries that come with torch read a weight laid out for them at 80 to 90 % of it:
oneDNN in fp32, FBGEMM in fp16. bf16 weights turn into fp16 exactly (10 bits of mantissa for 7; below
6e-5 to within 3e-8), products are summed in fp32, and a row gets the same bits alone and among others.
"""

import platform

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEW_ROWS = 64
"""Beyond these, weights are read once for many rows and `linear` is as fast."""

LARGEST_FP16 = 65_504.0
ON_X86 = platform.machine().lower() in ("x86_64", "amd64")


class Layout:
    """A second copy of a weight, made when first needed, and again when the weight has changed."""

    def __init__(self) -> None:
        self._key: tuple | None = None
        self._packed = None

    def __deepcopy__(self, memo: dict) -> "Layout":
        return Layout()

    def __reduce__(self) -> tuple:
        return Layout, ()

    def multiply(self, x: Tensor, weight: Tensor) -> Tensor:
        """(..., k) times the (n, k) weight, transposed -> (..., n), with no gradient."""
        key = weight.data_ptr(), weight.dtype, None if weight.is_inference() else weight._version
        if key != self._key:
            self._packed = _pack(weight.detach())
            self._key = key
        rows = x.reshape(-1, x.shape[-1])
        if self._packed is None:
            out = F.linear(rows, weight)
        elif weight.dtype == torch.float32:
            out = torch.ops.mkldnn._linear_pointwise(rows, self._packed, None, "none", [], "")
        else:
            out = torch.ops.quantized.linear_dynamic_fp16(rows.float(), self._packed).to(x.dtype)
        return out.view(*x.shape[:-1], len(weight))


def _pack(weight: Tensor):
    """The weight as its library wants it; None where there is none."""
    if weight.dtype == torch.float32 and torch.backends.mkldnn.is_available():
        return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), 16)  # tuned for 16 rows
    has_fbgemm = "fbgemm" in torch.backends.quantized.supported_engines
    if weight.dtype == torch.bfloat16 and has_fbgemm and weight.abs().max() < LARGEST_FP16:
        return torch.ops.quantized.linear_prepack_fp16(weight.float().contiguous(), None)
    return None


def project(x: Tensor, weight: Tensor, layout: Layout) -> Tensor:
    """`linear(x, weight)`, by the layout where a few rows of a CPU's decoding ask for it."""
    decoding = not torch.is_grad_enabled() and not torch.is_autocast_enabled(x.device.type)
    few = x.device.type == "cpu" and x.dtype == weight.dtype and 0 < x.numel() <= FEW_ROWS * x.shape[-1]
    if decoding and few and ON_X86:
        return layout.multiply(x, weight)
    return F.linear(x, weight)


class Projection(nn.Linear):
    """A linear map without bias that decodes at the speed of memory."""

    def __init__(self, dim_in: int, dim_out: int):
        super().__init__(dim_in, dim_out, bias=False)
        self.layout = Layout()

    def forward(self, x: Tensor) -> Tensor:
        return project(x, self.weight, self.layout)
