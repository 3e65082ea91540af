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
    """Tells how far a picture lies from known drawings, and from photographs of known things.

    Drawings are told by two Gaussians over the twin's part of the patches. The first one sees the
    picture as a whole: the mean of its patches and the logarithm of their spread. The second one sees
    its parts: quantiles of the distances of its patches. A drawing has a plain background somewhere
    and one thing or a few on it. Photographs are told by the classifier's answer at the end of each
    patch, which is the longer the more certain it is (`palm_demo.models.vision.Twin.answer`).

    Args:
        width: of the tower's patches.
        width_answers: of the answer in them; 0 for a tower without a classifier.
    """

    def __init__(self, width: int, width_answers: int = 0):
        super().__init__()
        self.width, self.width_answers = width, width_answers
        own = width - width_answers
        self.whole, self.patch, self.parts = Gaussian(2 * own), Gaussian(own), Gaussian(len(PARTS))
        self.register_buffer("usual", torch.zeros(2))
        self.register_buffer("spread", torch.ones(2))
        self.register_buffer("distances", torch.zeros(DEGREES))
        self.register_buffer("doubts", torch.zeros(DEGREES if width_answers else 0))

    def fit_(self, drawings: Tensor, photographs: Tensor | None = None) -> None:
        """Fits the detector to patches (pictures, p, width) of many drawings, and of photographs of known
        things.

        Every other drawing is not fitted to, and only tells how far known ones lie from the mean.
        """
        own = self._own(drawings)
        seen, others = own[::2], own[1::2]
        self.whole.fit_(summary(seen))
        self.patch.fit_(seen.flatten(0, 1))
        self.parts.fit_(self._part_distances(seen))
        both = self._both(others)
        self.usual, self.spread = both.mean(dim=0), both.std(dim=0)
        degrees = torch.linspace(0, 1, DEGREES, device=drawings.device)
        self.distances = self.distance(drawings[1::2]).quantile(degrees)
        if photographs is not None:
            self.doubts = self.doubt(photographs).quantile(degrees)

    def distance(self, patches: Tensor) -> Tensor:
        """Distances from drawings: (b, p, width) -> (b,), about 0 for usual ones.

        It is the sum of both Gaussians' logarithmic distances, each standardised.
        """
        return ((self._both(self._own(patches)) - self.usual) / self.spread).sum(dim=1)

    def doubt(self, patches: Tensor) -> Tensor:
        """How uncertain the classifier is: (b, p, width) -> (b,), the lower the more certain."""
        return -patches[:, 0, self.width - self.width_answers :].float().norm(dim=1)

    def forward(self, patches: Tensor) -> Tensor:
        """The OOD score: (b, p, width) -> (b,), 0 to 1, high for pictures out of distribution.

        It is the fraction of known drawings that are nearer to the mean, or that of known photographs
        that the classifier is more certain of, whichever is less.
        """
        as_drawing = torch.searchsorted(self.distances, self.distance(patches)) / DEGREES
        if not self.width_answers:
            return as_drawing
        return as_drawing.minimum(torch.searchsorted(self.doubts, self.doubt(patches)) / DEGREES)

    def _own(self, patches: Tensor) -> Tensor:
        """The patches without the classifier's answer."""
        return patches[..., : self.width - self.width_answers]

    def _both(self, patches: Tensor) -> Tensor:
        """Logarithms of both distances: (b, p, own width) -> (b, 2)."""
        distances = (
            self.whole.distance(summary(patches)),
            self.parts.distance(self._part_distances(patches)),
        )
        return (torch.stack(distances, dim=1) + FLOOR).log()

    def _part_distances(self, patches: Tensor) -> Tensor:
        """Logarithmic quantiles of the patches' distances: (b, p, own width) -> (b, PARTS)."""
        distances = self.patch.distance(patches.float())
        parts = distances.quantile(torch.tensor(PARTS, device=patches.device), dim=1)
        return (parts.T + FLOOR).log()


def summary(patches: Tensor) -> Tensor:
    """Mean and logarithmic spread of a picture's patches: (b, p, width) -> (b, 2 width)."""
    patches = patches.float()
    return torch.cat((patches.mean(dim=1), (patches.std(dim=1) + FLOOR).log()), dim=1)
