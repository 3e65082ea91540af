"""Weights in the forms that a CPU multiplies fastest, each in place of the weight and turned back into it bit
for bit. The only file that calls private parts of torch.

For a few rows, torch's own `linear` reads fp32 weights with one thread, and bf16 ones slower than memory
gives them. Two libraries that come with torch come nearer to it (`python -m benchmarks.decoding` says how
near decoding is). oneDNN lays out fp32 weights for any number of rows, and bf16 ones on processors that
have bf16 instructions. FBGEMM lays out the bf16 weights of other x86 processors in fp16 and sums products
in fp32.

Letters: `r` rows, `k` width in, `n` width out.
"""

import contextlib
import ctypes
import platform
import sys
import tempfile
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

ON_X86 = platform.machine().lower() in ("x86_64", "amd64")

TUNED_FOR_ROWS = 16
"""How many rows oneDNN lays a weight out for; any other number can be multiplied with it too."""

LARGEST_FP16 = 65_504.0

MOST_INEXACT = 0.01
"""Of a weight's numbers, those that fp16 may not hold exactly, for the weight to be laid out in it."""

MAPPED_FROM_BYTES = 1_000_000


class PackedWeight(Protocol):
    """A weight (n, k) in a form of its own. It never changes: a changed weight is packed anew."""

    shape: torch.Size
    dtype: torch.dtype

    def multiply(self, rows: Tensor) -> Tensor:
        """(..., r, k) rows of the weight's dtype -> (..., r, n), of that dtype or fp32."""

    def dense(self) -> Tensor:
        """(n, k), a new tensor with the bits of the weight that was packed."""


class OneDnnWeight:
    """A weight in oneDNN's blocks."""

    def __init__(self, weight: Tensor):
        self.shape, self.dtype = weight.shape, weight.dtype
        self._blocks = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), TUNED_FOR_ROWS)

    def multiply(self, rows: Tensor) -> Tensor:
        return multiply_plain(rows, self._blocks)

    def dense(self) -> Tensor:
        return self._blocks.to_dense()


class FbgemmWeight:
    """A bf16 weight in FBGEMM's fp16 panels.

    fp16 has 10 bits of mantissa for bf16's 7, so all numbers are exact but those below 8e-6, which are
    kept beside the panels and are off by 3e-8 at most in products.
    """

    def __init__(self, weight: Tensor, inexact: Tensor):
        """inexact: (n, k) bool, where fp16 rounds."""
        self.shape, self.dtype = weight.shape, weight.dtype
        self._panels = torch.ops.quantized.linear_prepack_fp16(weight.float().contiguous(), None)
        self._places = inexact.flatten().nonzero()[:, 0]
        self._values = weight.flatten()[self._places]

    def multiply(self, rows: Tensor) -> Tensor:
        return torch.ops.quantized.linear_dynamic_fp16(rows.float(), self._panels)

    def dense(self) -> Tensor:
        weight = torch.ops.quantized.linear_unpack_fp16(self._panels)[0].to(self.dtype)
        weight.view(-1)[self._places] = self._values
        return weight


def state_of(weight: Tensor) -> tuple:
    """Which numbers a weight holds: that of another differs, and its own once it was changed."""
    return weight.data_ptr(), weight.dtype, weight.device, None if weight.is_inference() else weight._version


def pack(weight: Tensor) -> PackedWeight | None:
    """The weight in the form that this processor multiplies fastest, or None where that is the weight as
    it is."""
    if not ON_X86 or weight.device.type != "cpu" or weight.ndim != 2 or not weight.numel():
        return None
    weight = weight.detach()
    if weight.dtype == torch.float32 or (weight.dtype == torch.bfloat16 and onednn_knows_bf16()):
        return OneDnnWeight(weight) if torch.backends.mkldnn.is_available() else None
    return pack_for_fp32_sums(weight)


def pack_for_fp32_sums(weight: Tensor) -> PackedWeight | None:
    """A bf16 weight in a form whose products come out in fp32, or None where there is none."""
    here = ON_X86 and weight.device.type == "cpu" and weight.dtype == torch.bfloat16
    if not here or "fbgemm" not in torch.backends.quantized.supported_engines:
        return None
    weight = weight.detach()
    if not weight.abs().max() < LARGEST_FP16:  # also where it is no number
        return None
    inexact = weight.half().to(weight.dtype) != weight
    return FbgemmWeight(weight, inexact) if inexact.float().mean() <= MOST_INEXACT else None


def onednn_knows_bf16() -> bool:
    """Whether this processor multiplies bf16 by itself. Where it does not, oneDNN takes any processor with
    AVX-512 all the same, and is 2.6 times slower at 16 rows than FBGEMM."""
    knows = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.backends.mkldnn.is_available() and knows


def multiply_plain(rows: Tensor, weight: Tensor) -> Tensor:
    """(..., k) fp32 rows times an (n, k) weight as it is -> (..., n), by oneDNN with all threads."""
    return torch.ops.mkldnn._linear_pointwise.default(rows, weight, None, "none", [], "")


def multiplies_plain(weight: Tensor) -> bool:
    """Whether `multiply_plain` knows such a weight, and is faster than `linear`."""
    known = ON_X86 and weight.device.type == "cpu" and weight.dtype == torch.float32
    return known and weight.is_contiguous() and torch.backends.mkldnn.is_available()


def give_back_memory() -> None:
    """Hands what packing left over to the system; glibc keeps it for later allocations otherwise."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def mapped(table: Tensor) -> Tensor:
    """A table on disk, in a file without a name that goes with it, read as far as its rows are asked for:
    the system may take back the memory at any time. The table itself where it is small or no file can be
    written.

    Writing to it changes memory, not the file.
    """
    raw = table.detach().contiguous()
    if raw.nbytes < MAPPED_FROM_BYTES:
        return table
    try:
        with tempfile.NamedTemporaryFile(prefix="palm-demo-table-", delete=False) as file:
            raw.view(torch.uint8).numpy().tofile(file)
        try:
            lying = torch.from_file(file.name, shared=False, size=raw.numel(), dtype=raw.dtype)
        finally:
            with contextlib.suppress(OSError):  # Windows keeps the name while the file is mapped
                Path(file.name).unlink()
    except (OSError, RuntimeError):
        return table
    return lying.view(raw.shape)
