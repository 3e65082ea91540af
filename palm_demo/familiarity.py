"""Whether a picture looks like those that a vision tower was trained on."""

import torch
from torch import Tensor, nn

QUANTILES = 1_000
FLOOR = 1e-3
"""Added to spreads, and the least part of the mean variance that a direction is taken to have."""


class Familiarity(nn.Module):
    """A Gaussian of what the tower sees in pictures it knows, and how far from its middle those lie
    (Mahalanobis distance, Lee et al. 2018, section 2.1).

    Of a picture's patches it reads the mean and the logarithm of the spread: photographs, noise and
    plain areas differ from drawings in how much the patches differ from each other.
    """

    def __init__(self, width: int):
        """width: of the tower's patches."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(2 * width))
        self.register_buffer("whitening", torch.eye(2 * width))
        self.register_buffer("distances", torch.zeros(QUANTILES))

    def fit_(self, patches: Tensor) -> None:
        """patches: (pictures, p, width) of many known pictures; every other one only tells how far
        known pictures lie from the middle."""
        seen, others = patches[::2], patches[1::2]
        summaries = summary(seen)
        self.mean = summaries.mean(dim=0)
        variances, directions = torch.linalg.eigh(torch.cov(summaries.T))
        self.whitening = directions / variances.clamp(min=FLOOR * variances.mean()).sqrt()
        self.distances = self.distance(others).quantile(torch.linspace(0, 1, QUANTILES))

    def distance(self, patches: Tensor) -> Tensor:
        """(b, p, width) -> (b,), squared."""
        return ((summary(patches) - self.mean) @ self.whitening).square().sum(dim=1)

    def forward(self, patches: Tensor) -> Tensor:
        """(b, p, width) -> (b,), the part of known pictures that lie farther from the middle: 0 to 1."""
        nearer = torch.searchsorted(self.distances, self.distance(patches))
        return 1 - nearer / QUANTILES


def summary(patches: Tensor) -> Tensor:
    """(b, p, width) -> (b, 2 width)."""
    patches = patches.float()
    return torch.cat((patches.mean(dim=1), (patches.std(dim=1) + FLOOR).log()), dim=1)
