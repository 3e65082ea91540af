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


def with_answers(patches: torch.Tensor, certainty: float) -> torch.Tensor:
    """Patches that end with a classifier's answer of two numbers, about as long as it is certain."""
    directions = torch.nn.functional.normalize(torch.randn(len(patches), 1, 2), dim=2)
    answers = directions * (certainty + 0.1 * torch.randn(len(patches), 1, 1))
    return torch.cat((patches, answers.expand(-1, patches.shape[1], -1)), dim=2)


@pytest.fixture
def detector_of_both() -> OODDetector:
    """One that knows drawings, with which the classifier can do nothing, and certain photographs."""
    made = OODDetector(WIDTH + 2, width_answers=2)
    made.fit_(with_answers(known(4_000), 1), with_answers(known(4_000) + 5, 4))
    return made


def test_a_photograph_of_which_the_classifier_is_certain_is_known(detector_of_both):
    found = detector_of_both(with_answers(known(2_000) + 5, 4))
    assert_close(found.sort().values, torch.linspace(0, 1, 2_000), atol=0.06, rtol=0)


def test_a_drawing_is_known_whatever_the_classifier_thinks(detector_of_both):
    assert detector_of_both(with_answers(known(200), 1)).median() < 0.7


def test_what_is_neither_is_strange(detector_of_both):
    assert detector_of_both(with_answers(known(50) + 5, 1)).min() == 1


def test_the_width_of_answers_is_in_the_file(detector_of_both, tmp_path):
    save_ood_detector(tmp_path / "some.safetensors", detector_of_both)
    patches = with_answers(known(20), 4)
    assert torch.equal(load_ood_detector(tmp_path / "some.safetensors")(patches), detector_of_both(patches))
