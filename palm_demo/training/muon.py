"""Muon (Jordan et al. 2024), computed in the precision that is fastest on this machine.

`torch.optim.Muon` orthogonalises in bf16 on every machine. A CPU without instructions for bf16 needs
about twenty times as long for that as in fp32.
"""

import time
from collections.abc import Iterable

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic Newton-Schulz iteration: steep at zero, and soon near one for all singular
values."""

ITERATIONS = 5
MATCHED_RMS = 0.2
"""The root mean square of AdamW's usual update, to which Muon's updates are scaled (Liu et al. 2025)."""


class Muon(torch.optim.Optimizer):
    """Orthogonalised Nesterov momentum for the matrices inside a network, with decoupled weight decay.

    Updates are scaled to the size of AdamW's, so its learning rates and weight decay apply.
    `precision`: the dtype of the products.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        lr: float,
        weight_decay: float,
        precision: torch.dtype,
        momentum: float = 0.95,
    ):
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.precision = precision

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Updates the matrices that have a gradient."""
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(matrix)
                heavy = state["momentum"].lerp_(matrix.grad, 1 - group["momentum"])
                ahead = matrix.grad.lerp(heavy, group["momentum"])  # Nesterov's
                update = orthogonalized(ahead, self.precision)
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                scale = MATCHED_RMS * max(matrix.shape) ** 0.5
                matrix.add_(update.to(matrix.dtype), alpha=-group["lr"] * scale)


def orthogonalized(matrix: Tensor, precision: torch.dtype) -> Tensor:
    """A matrix with the same singular vectors and all singular values near one."""
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).to(precision)
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


def fastest_precision() -> torch.dtype:
    """The dtype in which this machine multiplies fastest: bf16 with a GPU or the CPU instructions, else
    fp32."""
    if torch.cuda.is_available():
        return torch.bfloat16
    return min((torch.bfloat16, torch.float32), key=_seconds)


def _seconds(precision: torch.dtype) -> float:
    square = torch.ones(512, 512, dtype=precision)
    square @ square  # the first product also loads what it needs
    tries = []
    for _ in range(3):
        begun = time.perf_counter()
        square @ square
        tries.append(time.perf_counter() - begun)
    return min(tries)
