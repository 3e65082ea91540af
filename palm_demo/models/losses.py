"""Losses, in one process and in several that train together.

With several processes, a batch that is spread over them is treated as one: contrastive losses compare
every row with every other. Gradients must then be averaged over the processes, as
DistributedDataParallel does; they equal those of one process with the joined batch.

The trainings in this repository run in one process, where `gather_rows` is the identity and
`joint_mean` a plain mean. Both are for callers who wrap `MaMMUT` in DistributedDataParallel
themselves.
"""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

IGNORED = -100
"""The label of a position that is not learned from. No token has this id."""


def cross_entropy(logits: Tensor, labels: Tensor, reduction: str = "mean") -> Tensor:
    """Cross-entropy in nats, in fp32, over the labels that are not IGNORED.

    logits: (b, n, vocab). labels: (b, n). reduction: "mean" or "sum".
    """
    flat = logits.flatten(0, 1).float(), labels.flatten()
    return F.cross_entropy(*flat, ignore_index=IGNORED, reduction=reduction)


def is_parallel() -> bool:
    """Whether several processes train together at the moment."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def gather_rows(x: Tensor) -> Tensor:
    """Joins the rows of all processes in rank order: (b, ...) each -> (sum of b, ...). b may differ."""
    return _GatherRows.apply(x) if is_parallel() else x


def joint_mean(total: Tensor, count: Tensor) -> Tensor:
    """The mean over all processes, from this process's sum and its number of summands."""
    if not is_parallel():
        return total / count
    joined = torch.stack((total.detach(), count.to(total)))
    dist.all_reduce(joined)
    own = total * dist.get_world_size() / joined[1]
    return own + (joined[0] / joined[1] - own).detach()


class _GatherRows(torch.autograd.Function):
    """Gathers tensors of unequal lengths. Each process's loss sends gradients to every other's rows."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        counts = [torch.zeros((), dtype=torch.long, device=x.device) for _ in range(dist.get_world_size())]
        dist.all_gather(counts, torch.tensor(len(x), device=x.device))
        counts = [int(count) for count in counts]
        longest = max(counts)
        padded = F.pad(x, (*[0, 0] * (x.ndim - 1), 0, longest - len(x))).contiguous()
        gathered = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(gathered, padded)
        start = sum(counts[: dist.get_rank()])
        ctx.rows = slice(start, start + len(x))
        return torch.cat([rows[:count] for rows, count in zip(gathered, counts, strict=True)])

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient[ctx.rows]
