"""MaMMUT trained by several processes learns what one process would from the joined batch."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.testing import assert_close

from palm_demo.models.losses import gather_rows, is_parallel, joint_mean

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("parallel_losses.py")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def single() -> dict[str, torch.Tensor]:
    """Losses and gradients of one process."""
    spec = importlib.util.spec_from_file_location("parallel_losses", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    mammut, found = script.step(0, 7)
    for name, weight in mammut.named_parameters():
        found[name] = weight.grad if weight.grad is not None else torch.zeros_like(weight)
    return found


@pytest.fixture(scope="module", params=[2, 3])
def joined(request, tmp_path_factory) -> dict:
    """What so many processes found, each with its part of the same batch."""
    folder = tmp_path_factory.mktemp("parallel")
    store, out = folder / "store", folder / "found.pt"
    here = os.environ | {"PYTHONPATH": str(ROOT)}
    world = request.param
    commands = [[sys.executable, SCRIPT, str(rank), str(world), store, out] for rank in range(world)]
    started = [subprocess.Popen(command, env=here, stderr=subprocess.PIPE) for command in commands]
    said = [process.communicate(timeout=300)[1].decode() for process in started]
    assert all(process.returncode == 0 for process in started), "\n".join(said)
    return torch.load(out)


def test_both_losses_are_those_of_the_joined_batch(single, joined):
    for name in ("caption", "contrastive"):
        assert_close(joined[name], single[name], atol=1e-5, rtol=0)


def test_all_gradients_are_those_of_the_joined_batch(single, joined):
    assert joined.keys() - {"reference"} == single.keys()
    for name, gradient in single.items():
        assert_close(joined[name], gradient, atol=1e-5, rtol=1e-5)
    assert single["image_to_latents.weight"].abs().max() > 1e-3


def test_the_reference_labels_only_its_own_rows(joined):
    assert joined["reference"].startswith("ValueError")


def test_one_process_is_not_parallel():
    assert not dist.is_initialized() and not is_parallel()
    rows = torch.randn(3, 2)
    assert gather_rows(rows) is rows
    assert_close(joint_mean(torch.tensor(6.0), torch.tensor(3)), torch.tensor(2.0))
