"""Muon's updates, and that they are torch's."""

import pytest
import torch

from palm_demo.training.muon import Muon


def test_muons_updates_have_even_singular_values_and_adamws_size():
    torch.manual_seed(0)
    for shape in ((24, 64), (64, 24)):
        matrix = torch.nn.Parameter(torch.zeros(shape))
        matrix.grad = torch.randn(shape) @ torch.diag(torch.logspace(0, -2, shape[1]))
        Muon([matrix], lr=1.0, weight_decay=0.0, precision=torch.float32).step()
        values = torch.linalg.svdvals(matrix.detach())
        assert values.max() / values.min() < 2.5
        assert 0.1 < matrix.square().mean().sqrt() < 0.3


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has its own from 2.9 on")
def test_muon_agrees_with_torchs_own_in_bf16():
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(torch.ones(16, 32)) for _ in range(2))
    optimizers = (
        Muon([ours], lr=0.02, weight_decay=0.1, precision=torch.bfloat16),
        torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    )
    for _ in range(3):
        ours.grad = theirs.grad = torch.randn(16, 32)
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=0.02, atol=1e-3)
