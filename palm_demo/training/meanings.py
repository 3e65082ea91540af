"""What a picture means, in place of the picture: a vector of its scene's words, added at its mark.

PaLM reads the world's questions with it, and so learns to answer from what stands at a mark: to find
a thing that is asked for, to tell one mark from another, to give a thing the name it was given before.
Flamingo's bridges then only have to bring a picture's meaning there.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from palm_demo.world import MovingScene, Scene

SLOTS = ("thing", "other", "relation", "count", "background", "way")
NOISE = 0.7
"""At most, beside a meaning of size one: bridges will not say it as clearly as words do."""


def meaning(medium: Scene | MovingScene) -> dict[str, str]:
    """Words for the slots that a scene fills."""
    moving = isinstance(medium, MovingScene)
    scene = medium.scene if moving else medium
    words = {"thing": scene.names[0], "background": scene.background.color}
    if scene.kind == "pair":
        words |= {"other": scene.names[1], "relation": scene.relation}
    if scene.kind == "count":
        words["count"] = str(len(scene.names))
    if moving:
        words["way"] = medium.way
    return words


class Meanings(nn.Module):
    """Words by slot -> one vector: of each slot the mean of its words' embeddings, turned by a matrix
    of its own. Serves in training alone."""

    def __init__(self, dim: int):
        super().__init__()
        self.slots = nn.ModuleList(nn.Linear(dim, dim, bias=False) for _ in SLOTS)

    def forward(self, words: Tensor, embedding: nn.Embedding) -> Tensor:
        """(m, slots, t) ids, -1 where there is none -> (m, dim)."""
        there = (words >= 0)[..., None]
        embedded = (embedding(words.clamp(min=0)) * there).sum(dim=2) / there.sum(dim=2).clamp(min=1)
        meant = sum(slot(embedded[:, i]) for i, slot in enumerate(self.slots))
        if not self.training:
            return meant
        size = meant.square().mean(dim=-1, keepdim=True).sqrt()
        loudness = torch.rand(len(meant), 1, device=meant.device) * NOISE
        return meant + torch.randn_like(meant) * size * loudness


def words_tensor(meanings: Sequence[dict[str, list[int]]]) -> Tensor:
    """Ids by slot, of each mark -> (m, slots, t), filled up with -1."""
    longest = max((len(ids) for words in meanings for ids in words.values()), default=1)
    words = torch.full((len(meanings), len(SLOTS), longest), -1)
    for row, meant in enumerate(meanings):
        for slot, ids in meant.items():
            words[row, SLOTS.index(slot), : len(ids)] = torch.tensor(ids)
    return words
