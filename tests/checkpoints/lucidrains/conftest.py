"""Random models of the published reference packages, with noise on every weight."""

from collections.abc import Callable

import pytest
import torch
from flamingo_pytorch.flamingo_palm import FlamingoPaLM
from mammut_pytorch import MaMMUT
from palm_rlhf_pytorch.palm import PaLM
from toolformer_pytorch.palm import PaLM as ToolformerPaLM
from torch import Tensor, nn

from palm_demo.checkpoints import from_reference

REFERENCES = {
    "palm-rlhf-pytorch": PaLM,
    "toolformer-pytorch": ToolformerPaLM,
    "flamingo-pytorch": FlamingoPaLM,
    "mammut-pytorch": MaMMUT,
}
SIZE = {"dim": 32, "num_tokens": 48, "depth": 3, "dim_head": 16, "heads": 2}


class Encoder(nn.Module):
    """Pictures of 8 x 8 pixels into four patches of `dim`."""

    def __init__(self, dim: int):
        super().__init__()
        self.to_patches = nn.Conv2d(3, dim, kernel_size=4, stride=4)
        self.dropout = nn.Dropout(0.5)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.dropout(self.to_patches(pixels)).flatten(2).transpose(1, 2)


class NoEncoder(nn.Identity):
    """The reference's Flamingo cannot be built without an encoder."""


def stir_(model: nn.Module) -> None:
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.15 * torch.randn_like(weight))


@pytest.fixture
def twins() -> Callable[..., tuple[nn.Module, nn.Module]]:
    """layout, the reference's arguments -> (the reference's model, ours of its weights)."""

    def make(layout: str, **arguments) -> tuple[nn.Module, nn.Module]:
        arguments = SIZE | arguments
        reference = REFERENCES[layout](**arguments)
        stir_(reference)
        return reference.eval(), from_reference(layout, reference.state_dict(), **arguments)

    return make


@pytest.fixture
def text() -> Callable[..., Tensor]:
    """Random ids above the special ones, with media tokens at the marked places of every row."""

    def make(*shape: int, marks: tuple[int, ...] = ()) -> Tensor:
        ids = torch.randint(5, SIZE["num_tokens"], shape)
        ids[:, list(marks)] = 3
        return ids

    return make
