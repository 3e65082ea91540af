"""What a picture means, in place of the picture: a vector of the words for its scene, told to the text
that follows its mark.

PaLM reads the world's questions with it, and so learns to answer from what it is told: to find a thing
that is asked for, to give a thing the name it was given before. Flamingo's bridges then only have to
bring a picture's meaning there.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from palm_demo import world
from palm_demo.world.captions import NUMBERS

NOISE = 0.5
"""At most, beside a meaning of size one: bridges will not say it as clearly as words do."""

LOUD = 6.0
"""How large a meaning is at first: about half of the states that it is added to."""


def meaning(medium: world.Scene | world.MovingScene | world.Photograph) -> list[str]:
    """The words for a medium: its things, and their number, way and background; of a photograph, its name
    and that it is one."""
    if isinstance(medium, world.Photograph):
        return [medium.name, "photo"]
    moving = isinstance(medium, world.MovingScene)
    scene = medium.scene if moving else medium
    words = [*dict.fromkeys(scene.names), scene.background.color]
    if scene.kind == "count":
        words.append(NUMBERS[len(scene.names)])
    if moving:
        words.append(medium.way)
    return words


class Meanings(nn.Module):
    """Ids of words -> one vector: the sum of what tells their embeddings from all others. Serves in
    training alone."""

    def __init__(self, dim: int):
        super().__init__()
        self.out = nn.Linear(dim, dim, bias=False)
        with torch.no_grad():
            self.out.weight.copy_(LOUD * torch.eye(dim))  # what is meant is nearly said already

    def forward(self, words: Tensor, embedding: Tensor) -> Tensor:
        """(m, t) ids, -1 where there is none; (vocab, dim) -> (m, dim)."""
        embedding = embedding.detach()
        codes = F.layer_norm(embedding - embedding.mean(dim=0), embedding.shape[1:])
        said = (codes[words.clamp(min=0)] * (words >= 0)[..., None]).sum(dim=1)
        meant = F.layer_norm(said, said.shape[1:])
        if self.training:
            loudness = torch.rand(len(meant), 1, device=meant.device) * NOISE
            meant = meant + torch.randn_like(meant) * loudness
        return self.out(meant)
