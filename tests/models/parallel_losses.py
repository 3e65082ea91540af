"""One process of a data-parallel step: `parallel_losses.py RANK WORLD STORE OUT`.

Each process takes its part of one batch, of a size of its own. Process 0 writes what all found together:
the losses and the gradients, averaged over the processes as DistributedDataParallel does.
"""

import sys

import torch
import torch.distributed as dist
from mammut_pytorch import MaMMUT as ReferenceMaMMUT
from torch import nn

from palm_demo.checkpoints.bundled import MaMMUTConfig
from palm_demo.models.losses import IGNORED
from palm_demo.models.transformer import TransformerConfig

SIZES = {1: (7,), 2: (5, 2), 3: (1, 4, 2)}
"""Processes -> the rows of each."""


class Patches(nn.Module):
    """Four patches come in as pictures, and go out as they are."""

    width = 24

    def forward(self, pixels):
        return pixels


def step(start: int, rows: int) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """Some rows of the one batch -> the model with their gradients, and both losses."""
    torch.manual_seed(0)
    config = MaMMUTConfig(TransformerConfig(32, 2, 2, 48, 16, 2), "multimodal", (0, 1), 20)
    mammut = config.build(Patches())
    pictures, ids = torch.randn(7, 4, 24), torch.randint(1, 48, (7, 9))
    labels = torch.randint(1, 48, (7, 9))
    labels[torch.arange(9) > torch.arange(7)[:, None] + 1] = IGNORED  # captions of many lengths
    own = slice(start, start + rows)
    real = ids[own] > 0
    losses = mammut.losses(mammut.encode_patches(pictures[own]), ids[own], labels[own], ids[own], real)
    (losses.caption + losses.contrastive).backward()
    return mammut, {"caption": losses.caption.detach(), "contrastive": losses.contrastive.detach()}


def reference_error() -> str:
    """What the reference raises on more than one process."""
    model = ReferenceMaMMUT(dim=32, num_tokens=48, depth=1, num_img_queries=2)
    try:
        model(torch.randint(1, 48, (2, 5)), image_tokens=torch.randn(2, 4, 32), return_loss=True)
    except ValueError as error:
        return f"ValueError: {error}"
    return ""


def main() -> None:
    rank, world = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=dist.FileStore(sys.argv[3], world), rank=rank, world_size=world)
    sizes = SIZES[world]
    mammut, found = step(sum(sizes[:rank]), sizes[rank])
    for name, weight in mammut.named_parameters():
        gradient = weight.grad if weight.grad is not None else torch.zeros_like(weight)
        dist.all_reduce(gradient)
        found[name] = gradient / world
    error = reference_error()
    if rank == 0:
        torch.save(found | {"reference": error}, sys.argv[4])
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
