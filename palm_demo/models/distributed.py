"""A batch spread over processes, treated as one: for losses that compare all rows with each other.

All gradients are meant to be averaged over the processes afterwards, as DistributedDataParallel does;
they are then those of one process with the joined batch, whatever part of it each process had.
"""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor


def is_parallel() -> bool:
    """Whether there is more than one process now; asked per call, not when a model is built."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def gather_rows(x: Tensor) -> Tensor:
    """(b, ...) of each process -> the rows of all, in rank order; b may differ between them."""
    return _GatherRows.apply(x) if is_parallel() else x


def joint_mean(total: Tensor, count: Tensor) -> Tensor:
    """This process's sum and how many it sums -> the mean over all processes."""
    if not is_parallel():
        return total / count
    joined = torch.stack((total.detach(), count.to(total)))
    dist.all_reduce(joined)
    own = total * dist.get_world_size() / joined[1]
    return own + (joined[0] / joined[1] - own).detach()


class _GatherRows(torch.autograd.Function):
    """Gathers tensors of unequal lengths; each process's loss sends gradients to every other's rows."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        counts = [torch.zeros((), dtype=torch.long, device=x.device) for _ in range(dist.get_world_size())]
        dist.all_gather(counts, torch.tensor(len(x), device=x.device))
        counts = [int(count) for count in counts]
        longest = max(counts)
        filled = F.pad(x, (*[0, 0] * (x.ndim - 1), 0, longest - len(x))).contiguous()
        gathered = [torch.empty_like(filled) for _ in counts]
        dist.all_gather(gathered, filled)
        start = sum(counts[: dist.get_rank()])
        ctx.rows = slice(start, start + len(x))
        return torch.cat([rows[:count] for rows, count in zip(gathered, counts, strict=True)])

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient[ctx.rows]
