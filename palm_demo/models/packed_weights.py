"""Packed weights: the forms that a CPU multiplies fastest.

Those in 8 bits are rounded; all others can be unpacked bit for bit.

This is the only file that calls private parts of torch.

For a few rows, torch's own `linear` reads fp32 weights with one thread, and bf16 ones slower than
memory provides them. Two libraries that come with torch are faster (`python -m benchmarks.decoding`
measures by how much). oneDNN packs fp32 weights for any number of rows, and bf16 ones on processors
with bf16 instructions. FBGEMM packs the bf16 weights of other x86 processors in fp16 and sums products
in fp32. It also packs weights of either dtype in 8 bits, which rounds them.

Letters: `r` rows, `k` width in, `n` width out.
"""

import contextlib
import ctypes
import math
import platform
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

ON_X86 = platform.machine().lower() in ("x86_64", "amd64")

TUNED_FOR_ROWS = 16
"""The number of rows that oneDNN packs a weight for. Any other number can be multiplied with it too."""

LARGEST_FP16 = 65_504.0

MOST_INEXACT = 0.01
"""The largest fraction of a weight's numbers that fp16 may not hold exactly, for it to be packed in fp16."""

SMALLEST = 1e-30
"""In place of zero, where a row or weight of zeros is divided by its largest number."""

ROW_STEPS = 63
"""What the largest number of a row is rounded to, for a product in 8 bits. With more than 7 bits, processors
without VNNI would overflow where they sum two products."""

MAPPED_FROM_BYTES = 1_000_000


class PackedWeight(Protocol):
    """The interface of packed weights (n, k). They never change: a changed weight is packed again."""

    shape: torch.Size
    dtype: torch.dtype

    def multiply(self, rows: Tensor) -> Tensor:
        """Multiplies (..., r, k) rows of the weight's dtype: (..., r, n), of that dtype or fp32."""

    def dense(self) -> Tensor:
        """The weight (n, k) as a new tensor, with the bits of the one that was packed unless it was rounded
        to 8 bits."""


class OneDnnWeight:
    """A weight in oneDNN's blocked layout."""

    def __init__(self, weight: Tensor):
        self.shape, self.dtype = weight.shape, weight.dtype
        self._blocks = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), TUNED_FOR_ROWS)

    def multiply(self, rows: Tensor) -> Tensor:
        return multiply_plain(rows, self._blocks)

    def dense(self) -> Tensor:
        return self._blocks.to_dense()


class FbgemmWeight:
    """A bf16 weight in FBGEMM's fp16 panels.

    fp16 has 10 bits of mantissa where bf16 has 7, so all numbers are exact except those below 8e-6.
    These are kept beside the panels, and in products are off by 3e-8 at most.
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


class Int8Weight:
    """A weight in FBGEMM's 8-bit panels, with a scale for each output. The rows are rounded too, for the
    product.

    Each row is divided by its largest number before it is rounded. So what a row is rounded to does not
    depend on the others, and one with numbers that are not finite spoils none.
    """

    def __init__(self, weight: Tensor):
        self.shape, self.dtype = weight.shape, weight.dtype
        weight = weight.detach().float()
        scales = weight.abs().amax(dim=1).clamp(min=SMALLEST).double() / 127
        zeros = torch.zeros(len(weight), dtype=torch.long)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that quantized tensors may be removed one day
            quantized = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
        self._panels = torch.ops.quantized.linear_prepack(quantized, None)

    def multiply(self, rows: Tensor) -> Tensor:
        flat = rows.reshape(-1, rows.shape[-1]).float()
        largest = torch.linalg.vector_norm(flat, math.inf, dim=1, keepdim=True).clamp_(min=SMALLEST)
        product = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            flat / largest, 1 / ROW_STEPS, ROW_STEPS + 1, self._panels
        )
        return product.mul_(largest).view(*rows.shape[:-1], -1)

    def dense(self) -> Tensor:
        return torch.ops.quantized.linear_unpack(self._panels)[0].dequantize().to(self.dtype)


def state_of(weight: Tensor) -> tuple:
    """A value that differs for another weight, and for this one after a change."""
    return weight.data_ptr(), weight.dtype, weight.device, None if weight.is_inference() else weight._version


def pack(weight: Tensor) -> PackedWeight | None:
    """Packs a weight in the form that this processor multiplies fastest; None if that is the plain
    weight."""
    if not ON_X86 or weight.device.type != "cpu" or weight.ndim != 2 or not weight.numel():
        return None
    weight = weight.detach()
    if weight.dtype == torch.float32 or (weight.dtype == torch.bfloat16 and onednn_knows_bf16()):
        return OneDnnWeight(weight) if torch.backends.mkldnn.is_available() else None
    return pack_for_fp32_sums(weight)


def pack_in_8_bits(weight: Tensor) -> PackedWeight | None:
    """Rounds a weight to 8 bits and packs it; None if this processor has no such form, or a number of the
    weight is not finite or too large."""
    here = ON_X86 and weight.device.type == "cpu" and weight.ndim == 2 and weight.shape[1] > 1
    if not here or not weight.numel() or "fbgemm" not in torch.backends.quantized.supported_engines:
        return None
    return Int8Weight(weight) if weight.abs().max().isfinite() else None


def pack_for_fp32_sums(weight: Tensor) -> PackedWeight | None:
    """Packs a bf16 weight in a form whose products are fp32; None if there is no such form."""
    here = ON_X86 and weight.device.type == "cpu" and weight.dtype == torch.bfloat16
    if not here or "fbgemm" not in torch.backends.quantized.supported_engines:
        return None
    weight = weight.detach()
    if not weight.abs().max() < LARGEST_FP16:  # also where it is no number
        return None
    inexact = weight.half().to(weight.dtype) != weight
    return FbgemmWeight(weight, inexact) if inexact.float().mean() <= MOST_INEXACT else None


def onednn_knows_bf16() -> bool:
    """Whether this processor has instructions for bf16.

    Without them, oneDNN accepts any processor with AVX-512 all the same, and is 2.6 times slower at 16
    rows than FBGEMM.
    """
    knows = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.backends.mkldnn.is_available() and knows


def multiply_plain(rows: Tensor, weight: Tensor) -> Tensor:
    """(..., k) fp32 rows times an unpacked weight (n, k) -> (..., n), by oneDNN with all threads."""
    return torch.ops.mkldnn._linear_pointwise.default(rows, weight, None, "none", [], "")


def multiplies_plain(weight: Tensor) -> bool:
    """Whether `multiply_plain` supports a weight and is faster than `linear`."""
    known = ON_X86 and weight.device.type == "cpu" and weight.dtype == torch.float32
    return known and weight.is_contiguous() and torch.backends.mkldnn.is_available()


def give_back_memory() -> None:
    """Returns the memory that packing has freed to the system. glibc would keep it for later allocations."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def mapped(table: Tensor) -> Tensor:
    """Moves a table into an unnamed temporary file that is mapped into memory.

    Its rows are read when they are needed, and the system may take the memory back at any time.
    Writing to it changes memory, not the file. Returns the table itself if it is small or no file can
    be written.
    """
    raw = table.detach().contiguous()
    if raw.nbytes < MAPPED_FROM_BYTES:
        return table
    try:
        handle, name = tempfile.mkstemp(prefix="palm-demo-table-")
    except OSError:
        return table
    try:
        with open(handle, "wb") as file:
            raw.view(torch.uint8).numpy().tofile(file)
        stored = torch.from_file(name, shared=False, size=raw.numel(), dtype=raw.dtype)
    except (OSError, RuntimeError):
        return table
    finally:
        with contextlib.suppress(OSError):  # Windows keeps the name while the file is mapped
            Path(name).unlink()
    return stored.view(raw.shape)
