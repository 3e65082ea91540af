"""Whether a picture looks like those a tower was trained on."""

import pytest
import torch
from torch.testing import assert_close

from palm_demo.checkpoints import load_ood_detector, save_ood_detector
from palm_demo.models.ood import Gaussian, OODDetector

WIDTH = 6


def known(count: int) -> torch.Tensor:
    """Patches around two, each channel with a spread of its own."""
    return 2 + torch.randn(count, 9, WIDTH) * torch.linspace(0.5, 2, WIDTH)


@pytest.fixture
def detector() -> OODDetector:
    made = OODDetector(WIDTH)
    made.fit_(known(4_000))
    return made


def test_the_distance_from_a_gaussian_is_mahalanobis():
    seen, gaussian = known(2_000).flatten(0, 1), Gaussian(WIDTH)
    gaussian.fit_(seen)
    things = 3 * torch.randn(5, WIDTH)
    off = things - seen.mean(dim=0)
    expected = (off @ torch.linalg.inv(torch.cov(seen.T)) * off).sum(dim=1)
    assert_close(gaussian.distance(things), expected, rtol=1e-3, atol=0)


def test_a_usual_picture_has_a_distance_of_nothing(detector):
    assert_close(detector.distance(known(4_000)).mean(), torch.tensor(0.0), atol=0.1, rtol=0)


def test_a_picture_of_usual_patches_that_are_all_alike_is_strange(detector):
    alike = known(50)[:, :1].expand(-1, 9, -1)
    assert detector(alike).min() == 1


def test_known_pictures_are_spread_over_all_degrees(detector):
    found = detector(known(2_000))
    assert_close(found.sort().values, torch.linspace(0, 1, 2_000), atol=0.06, rtol=0)


@pytest.mark.parametrize(
    "strange",
    [known(50) + 5, 2 + (known(50) - 2) * 8, torch.full((50, 9, WIDTH), 2.0)],
    ids=["elsewhere", "wilder", "plain"],
)
def test_what_lies_elsewhere_or_is_wilder_or_plain_is_strange(detector, strange):
    assert detector(strange).min() == 1


def test_it_is_the_same_from_its_file(detector, tmp_path):
    save_ood_detector(tmp_path / "some.safetensors", detector)
    patches = known(20)
    assert torch.equal(load_ood_detector(tmp_path / "some.safetensors")(patches), detector(patches))
