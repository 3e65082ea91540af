"""Out-of-distribution detection: whether a picture looks like those that a vision tower was trained on."""

import torch
from torch import Tensor, nn

DEGREES = 1_000
FLOOR = 1e-3
"""Added to spreads; also the least variance of a direction, as a fraction of the mean variance."""
PARTS = (0.0, 0.125, 0.25, 0.5, 0.75, 1.0)
"""Quantiles of the distances of a picture's patches."""


class Gaussian(nn.Module):
    """A Gaussian fitted to vectors, and how far others lie from its mean.

    The distance is the Mahalanobis distance (Lee et al. 2018, section 2.1).
    """

    def __init__(self, width: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("whitening", torch.eye(width))

    def fit_(self, known: Tensor) -> None:
        """Fits mean and covariance to vectors (n, width)."""
        self.mean = known.mean(dim=0)
        variances, directions = torch.linalg.eigh(torch.cov(known.T))
        self.whitening = directions / variances.clamp(min=FLOOR * variances.mean()).sqrt()

    def distance(self, things: Tensor) -> Tensor:
        """Squared Mahalanobis distances of vectors: (..., width) -> (...)."""
        return ((things - self.mean) @ self.whitening).square().sum(dim=-1)


class OODDetector(nn.Module):
    """Tells how far a picture lies from known ones, by two Gaussians.

    The first one sees the picture as a whole: the mean of its patches and the logarithm of their
    spread. Photographs differ from drawings in how much their patches differ from each other. The
    second one sees its parts: quantiles of the distances of its patches. A drawing has a plain
    background somewhere and one thing or a few on it.
    """

    def __init__(self, width: int):
        """width: of the tower's patches."""
        super().__init__()
        self.whole, self.patch, self.parts = Gaussian(2 * width), Gaussian(width), Gaussian(len(PARTS))
        self.register_buffer("usual", torch.zeros(2))
        self.register_buffer("spread", torch.ones(2))
        self.register_buffer("distances", torch.zeros(DEGREES))

    def fit_(self, patches: Tensor) -> None:
        """Fits the detector to patches (pictures, p, width) of many known pictures.

        Every other picture is not fitted to, and only tells how far known pictures lie from the mean.
        """
        seen, others = patches[::2], patches[1::2]
        self.whole.fit_(summary(seen))
        self.patch.fit_(seen.flatten(0, 1))
        self.parts.fit_(self._part_distances(seen))
        both = self._both(others)
        self.usual, self.spread = both.mean(dim=0), both.std(dim=0)
        self.distances = self.distance(others).quantile(torch.linspace(0, 1, DEGREES))

    def distance(self, patches: Tensor) -> Tensor:
        """Distances of pictures: (b, p, width) -> (b,), about 0 for usual ones.

        It is the sum of both Gaussians' logarithmic distances, each standardised.
        """
        return ((self._both(patches) - self.usual) / self.spread).sum(dim=1)

    def forward(self, patches: Tensor) -> Tensor:
        """The OOD score: (b, p, width) -> (b,), the fraction of known pictures that are nearer to the
        mean.

        It goes from 0 to 1 and is high for pictures out of distribution.
        """
        return torch.searchsorted(self.distances, self.distance(patches)) / DEGREES

    def _both(self, patches: Tensor) -> Tensor:
        """Logarithms of both distances: (b, p, width) -> (b, 2)."""
        distances = (
            self.whole.distance(summary(patches)),
            self.parts.distance(self._part_distances(patches)),
        )
        return (torch.stack(distances, dim=1) + FLOOR).log()

    def _part_distances(self, patches: Tensor) -> Tensor:
        """Logarithmic quantiles of the patches' distances: (b, p, width) -> (b, PARTS)."""
        distances = self.patch.distance(patches.float())
        parts = distances.quantile(torch.tensor(PARTS, device=patches.device), dim=1)
        return (parts.T + FLOOR).log()


def summary(patches: Tensor) -> Tensor:
    """Mean and logarithmic spread of a picture's patches: (b, p, width) -> (b, 2 width)."""
    patches = patches.float()
    return torch.cat((patches.mean(dim=1), (patches.std(dim=1) + FLOOR).log()), dim=1)
