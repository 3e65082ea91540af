"""Whether a picture looks like those that a vision tower was trained on."""

import torch
from torch import Tensor, nn

DEGREES = 1_000
FLOOR = 1e-3
"""Added to spreads, and the least part of the mean variance that a direction is taken to have."""
PARTS = (0.0, 0.125, 0.25, 0.5, 0.75, 1.0)
"""Of a picture's patches, the quantiles of how strange each is by itself."""


class Gaussian(nn.Module):
    """What known things are like, and how far from their middle others lie (Mahalanobis distance,
    Lee et al. 2018, section 2.1)."""

    def __init__(self, width: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("whitening", torch.eye(width))

    def fit_(self, known: Tensor) -> None:
        """known: (things, width)."""
        self.mean = known.mean(dim=0)
        variances, directions = torch.linalg.eigh(torch.cov(known.T))
        self.whitening = directions / variances.clamp(min=FLOOR * variances.mean()).sqrt()

    def distance(self, things: Tensor) -> Tensor:
        """(..., width) -> (...), squared."""
        return ((things - self.mean) @ self.whitening).square().sum(dim=-1)


class OODDetector(nn.Module):
    """How far a picture lies from known ones, seen in two ways, each a Gaussian.

    As a whole: by the mean of its patches and the logarithm of their spread. Photographs differ from
    drawings in how much their patches differ from each other. By its parts: how strange each patch is,
    from the least to the most. A drawing has a plain ground somewhere and one thing or a few on it.
    """

    def __init__(self, width: int):
        """width: of the tower's patches."""
        super().__init__()
        self.whole, self.patch, self.parts = Gaussian(2 * width), Gaussian(width), Gaussian(len(PARTS))
        self.register_buffer("usual", torch.zeros(2))
        self.register_buffer("spread", torch.ones(2))
        self.register_buffer("distances", torch.zeros(DEGREES))

    def fit_(self, patches: Tensor) -> None:
        """patches: (pictures, p, width) of many known pictures; every other one only tells how far
        known pictures lie from the middle."""
        seen, others = patches[::2], patches[1::2]
        self.whole.fit_(summary(seen))
        self.patch.fit_(seen.flatten(0, 1))
        self.parts.fit_(self._strangeness(seen))
        both = self._both(others)
        self.usual, self.spread = both.mean(dim=0), both.std(dim=0)
        self.distances = self.distance(others).quantile(torch.linspace(0, 1, DEGREES))

    def distance(self, patches: Tensor) -> Tensor:
        """(b, p, width) -> (b,), 0 for usual pictures: the sum of both logarithms, each in its own spread."""
        return ((self._both(patches) - self.usual) / self.spread).sum(dim=1)

    def forward(self, patches: Tensor) -> Tensor:
        """(b, p, width) -> (b,), the part of known pictures that lie nearer to the middle: 0 to 1, high for
        pictures out of distribution."""
        return torch.searchsorted(self.distances, self.distance(patches)) / DEGREES

    def _both(self, patches: Tensor) -> Tensor:
        """(b, p, width) -> (b, 2), the logarithms of the distances."""
        distances = (
            self.whole.distance(summary(patches)),
            self.parts.distance(self._strangeness(patches)),
        )
        return (torch.stack(distances, dim=1) + FLOOR).log()

    def _strangeness(self, patches: Tensor) -> Tensor:
        """(b, p, width) -> (b, PARTS)."""
        distances = self.patch.distance(patches.float())
        parts = distances.quantile(torch.tensor(PARTS, device=patches.device), dim=1)
        return (parts.T + FLOOR).log()


def summary(patches: Tensor) -> Tensor:
    """(b, p, width) -> (b, 2 width)."""
    patches = patches.float()
    return torch.cat((patches.mean(dim=1), (patches.std(dim=1) + FLOOR).log()), dim=1)
