"""What timm does not document and we use does what we take it to do."""

import json

import pytest
import timm
import torch

from palm_demo.internals.timm_parts import (
    first_stages,
    fold_norms_,
    last_stages,
    renamed,
    trunk_of_folder,
    twin_stages,
)
from palm_demo.training.tower import CONFIG


@pytest.fixture(scope="module")
def trunk():
    torch.manual_seed(0)
    return timm.create_model("tf_efficientnet_lite0").eval()


def test_the_first_and_the_last_stages_are_the_whole_network(trunk):
    pixels = torch.randn(1, 3, 64, 64)
    for count in (2, 4, 7):
        shared = first_stages(trunk, pixels, count)
        torch.testing.assert_close(last_stages(trunk, shared, count), trunk(pixels))


def test_twin_stages_are_copies(trunk):
    twins = twin_stages(trunk, 5)
    assert len(twins) == len(trunk.blocks) - 5
    assert all(
        own is not other for own, other in zip(twins.parameters(), trunk.blocks[5:].parameters(), strict=True)
    )


def test_a_folder_names_a_whole_network_with_its_classifier(tmp_path):
    (tmp_path / "open_clip_config.json").write_text(json.dumps(CONFIG))
    visual = trunk_of_folder(tmp_path)
    assert visual.trunk.num_classes == 1000
    assert visual.eval()(torch.randn(1, 3, 64, 64)).shape == (1, 1000)


def test_released_names_become_timms(trunk):
    timms = trunk.state_dict()
    plain = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
    expanded = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv"}
    expanded |= {"bn2": "_bn1", "conv_pwl": "_project_conv", "bn3": "_bn2"}
    outside = {
        "conv_stem": "_conv_stem",
        "bn1": "_bn0",
        "conv_head": "_conv_head",
        "bn2": "_bn1",
        "classifier": "_fc",
    }
    released, number = {}, 0
    for stage, blocks in enumerate(trunk.blocks):
        for block in range(len(blocks)):
            start = f"blocks.{stage}.{block}."
            names = expanded if f"{start}conv_pwl.weight" in timms else plain
            for name, tensor in timms.items():
                if name.startswith(start):
                    part, leaf = name.removeprefix(start).split(".")
                    released[f"_blocks.{number}.{names[part]}.{leaf}"] = tensor
            number += 1
    for name, tensor in timms.items():
        if not name.startswith("blocks."):
            part, leaf = name.split(".")
            released[f"{outside[part]}.{leaf}"] = tensor
    found = renamed(trunk, released)
    assert found.keys() == timms.keys()
    assert all(found[name] is timms[name] for name in timms)


@torch.no_grad()
def test_folded_norms_leave_what_the_network_answers():
    torch.manual_seed(0)
    network = timm.create_model("tf_efficientnet_lite0").eval()
    for norm in network.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.running_mean.normal_(std=0.2)
            norm.running_var.uniform_(0.5, 1.5)
    pixels = torch.randn(2, 3, 64, 64)
    before = network(pixels)
    after = fold_norms_(network)(pixels)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in network.modules())
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3 * before.abs().max().item())
