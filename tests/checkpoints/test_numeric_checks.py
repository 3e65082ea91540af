"""Weights whose numbers cannot be a model's are refused where they are loaded, by file and tensor."""

import pytest
import torch
from safetensors.torch import save_file

from palm_demo import checkpoints
from palm_demo.checkpoints import files, from_reference, open_weights
from palm_demo.checkpoints.numeric_checks import LARGEST_UPDATE, attention_norms, check_update
from palm_demo.errors import CheckpointError
from palm_demo.models.cpu_linear import pack_
from palm_demo.models.ood import OODDetector
from palm_demo.models.vision import VisionTower
from tests.checkpoints.released.test_palm import tensors as released_palm
from tests.checkpoints.test_bundled import FLAMINGO, MAMMUT, PALM, rounded, spoil

KINDS = ("palm", "mammut", "flamingo", "tower", "ood", "scope")


@pytest.fixture
def saved(new_tower, assets, tmp_path):
    """Kind -> its file, and what loads it."""
    palm, tower = rounded(PALM.build()), rounded(new_tower())

    def make(kind: str):
        path = tmp_path / f"{kind}.safetensors"
        if kind == "palm":
            checkpoints.save_palm(path, palm, PALM)
            return path, lambda: checkpoints.load_palm(path)
        if kind == "mammut":
            checkpoints.save_mammut(path, rounded(MAMMUT.build(tower)), MAMMUT)
            return path, lambda: checkpoints.load_mammut(path, tower)
        if kind == "flamingo":
            checkpoints.save_flamingo(path, rounded(FLAMINGO.build(palm, tower)), FLAMINGO)
            return path, lambda: checkpoints.load_flamingo(path, palm, tower)
        if kind == "tower":
            checkpoints.save_tower(path, rounded(VisionTower.from_folder(assets / "vision")))
            return path, lambda: checkpoints.load_tower(path, assets / "vision")
        if kind == "ood":
            detector = OODDetector(8)
            detector.fit_(torch.randn(40, 5, 8))
            checkpoints.save_ood_detector(path, detector)
            return path, lambda: checkpoints.load_ood_detector(path)
        adapter = palm.new_adapter(2)
        for weight in adapter.parameters():
            weight.data.normal_(std=0.1)
        checkpoints.save_adapter(path, palm, adapter)
        return path, lambda: checkpoints.load_adapter(path, palm)

    return make


def matrix_of(tensors) -> str:
    """The name of a matrix, one with numbers."""
    return next(
        name for name, t in sorted(tensors.items(), reverse=True) if t.ndim > 1 and t.is_floating_point()
    )


@pytest.mark.parametrize("kind", KINDS)
def test_whole_weights_are_loaded(kind, saved):
    _, load = saved(kind)
    load()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")], ids=str)
def test_one_number_that_is_not_finite_is_named_with_file_and_tensor(kind, number, saved):
    path, load = saved(kind)
    spoilt = []

    def change(tensors):
        spoilt.append(matrix_of(tensors))
        tensors[spoilt[0]].view(-1)[-1] = number

    spoil(path, change)
    with pytest.raises(CheckpointError, match="not finite") as refused:
        load()
    assert str(path) in str(refused.value) and spoilt[0] in str(refused.value)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_zeros_alone_are_refused(kind, saved):
    path, load = saved(kind)
    spoil(path, lambda tensors: [t.zero_() for t in tensors.values()])
    with pytest.raises(CheckpointError, match=rf"{kind}.safetensors has nothing but zeros in \w"):
        load()


@pytest.mark.parametrize("kind", ["palm", "mammut", "flamingo", "ood"])
def test_one_matrix_of_zeros_is_refused(kind, saved):
    path, load = saved(kind)
    spoilt = []

    def change(tensors):
        spoilt.append(matrix_of(tensors))
        tensors[spoilt[0]].zero_()

    spoil(path, change)
    with pytest.raises(CheckpointError, match="nothing but zeros") as refused:
        load()
    assert spoilt[0] in str(refused.value)


def test_what_starts_at_zero_may_be_zero(new_tower, tmp_path):
    """Gates that are shut."""
    palm, tower, path = rounded(PALM.build()), rounded(new_tower()), tmp_path / "f.safetensors"
    checkpoints.save_flamingo(path, FLAMINGO.build(palm, tower), FLAMINGO)
    checkpoints.load_flamingo(path, palm, tower)


@pytest.mark.parametrize("width", [None, True, 0, -3, "8", 10**12])
def test_an_ood_detector_of_an_impossible_width_is_refused(width, tmp_path):
    path = tmp_path / "a.safetensors"
    description = {"kind": "ood", "width": width, "width_answers": 0}
    files.write(path, OODDetector(8).state_dict(), description, torch.float32)
    with pytest.raises(CheckpointError, match="patches of width"):
        checkpoints.load_ood_detector(path)


@pytest.mark.parametrize("width", [None, True, 8, -3, "2", 10**12])
def test_an_ood_detector_of_impossible_answers_is_refused(width, tmp_path):
    path = tmp_path / "a.safetensors"
    description = {"kind": "ood", "width": 8, "width_answers": width}
    files.write(path, OODDetector(8, 2).state_dict(), description, torch.float32)
    with pytest.raises(CheckpointError, match="answers of width"):
        checkpoints.load_ood_detector(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda weight: weight.view(-1)[3:4].fill_(float("nan")), "not finite"),
        (lambda weight: weight.view(-1)[3:4].fill_(1e39), "not finite"),
        (lambda weight: weight.zero_(), "nothing but zeros"),
    ],
    ids=["nan", "beyond the dtype", "zeros"],
)
@pytest.mark.parametrize("name", ["layers.1.fn.attn_out.weight", "layers.0.fn.fused_attn_ff_proj.weight"])
def test_released_weights_are_checked_as_they_are_read(change, said, name, tmp_path):
    tensors = {name: t.double() for name, t in released_palm().items()}
    change(tensors[name])
    path = tmp_path / "released.safetensors"
    save_file({name: t.clone() for name, t in tensors.items()}, path)
    for given, source in ((open_weights(path), "released.safetensors"), (tensors, "the checkpoint")):
        with pytest.raises(CheckpointError, match=said) as refused:
            from_reference("palm-8k", given, dtype=torch.bfloat16)
        assert name in str(refused.value) and source in str(refused.value)


def test_a_scope_may_add_so_many_times_the_weights_and_no_more(new_palm):
    palm = new_palm()
    norms, adapter = attention_norms(palm), palm.new_adapter(3)
    for weight in adapter.parameters():
        weight.data.zero_()
    lora = adapter.layers[1]["value"]
    lora.down.data.normal_()
    lora.up.data.normal_()
    lora.up.data *= 0.99 * LARGEST_UPDATE * norms[1]["value"] / lora.weight.norm()
    check_update(adapter, norms, "mine")
    lora.up.data *= 1.1
    with pytest.raises(CheckpointError, match=r"mine adds 109 times .* the value weights of block 1"):
        check_update(adapter, norms, "mine")


def test_norms_are_those_of_packed_weights_too(new_palm):
    palm = new_palm()
    norms = attention_norms(palm)
    assert attention_norms(pack_(palm)) == norms


@pytest.mark.slow
def test_scopes_that_come_along_and_that_are_taught_are_far_from_the_limit(session, tmp_path):
    norms = session.palm._attention_norms
    for name in session.scopes:
        check_update(
            session.palm.model.scopes[name], [{n: v / 100 for n, v in of.items()} for of in norms], name
        )
    text = "It was a bright cold day and the clocks were striking thirteen times over. " * 120
    for settings in ({"learning_rate": 1.0}, {"learning_rate": 0.05, "rank": 64}, {}):
        *_, last = session.finetune(text, steps=6, eval_steps=2, seconds=600, **settings)
        session.save_adapter(last.adapter, tmp_path / "taught.safetensors")
        session.load_adapter(tmp_path / "taught.safetensors")
