"""Where palm-rlhf-pytorch, and the blocks all references share, are wrong."""

import pytest
import torch
from palm_rlhf_pytorch.palm import PaLM, RotaryEmbedding
from palm_rlhf_pytorch.utils import top_k, top_p
from torch.testing import assert_close

from palm_demo.checkpoints import from_reference, load_scope, save_adapter
from palm_demo.errors import ScopeError
from palm_demo.inference.decoding import generate_ids
from palm_demo.inference.sampling import in_nucleus, likeliest
from palm_demo.models.layers import RLHF_QK_NORM, XPos

from .conftest import SIZE

RLHF = "palm-rlhf-pytorch"
equal = {"atol": 1e-5, "rtol": 0}


def distinct(angles) -> int:
    return len(torch.unique(angles.float(), dim=0))


# every block


def test_positions_stay_apart_in_bfloat16(new_palm):
    theirs, _ = RotaryEmbedding(64).bfloat16()(1024, "cpu")
    assert distinct(theirs) < 600
    rotation = new_palm().bfloat16().decoder.rotary(torch.arange(1024), heads=2)
    assert rotation.cos.dtype == torch.float32
    assert distinct(torch.cat((rotation.cos, rotation.sin), dim=-1)) == 1024


def test_a_pass_in_inference_mode_does_not_spoil_a_later_backward_pass(twins, text):
    reference, ours = twins(RLHF)
    ids = text(1, 9)
    for model in (reference, ours):
        with torch.inference_mode():
            model(ids)
    with pytest.raises(RuntimeError, match="Inference"):
        reference(ids).sum().backward()
    ours(ids).sum().backward()
    assert ours.decoder.embedding.weight.grad.any()


def test_a_keys_turn_does_not_depend_on_how_long_the_text_has_grown():
    rotary = RotaryEmbedding(16)
    (_, short), (_, long) = rotary(8, "cpu"), rotary(12, "cpu")
    assert not torch.allclose(short[3], long[3])
    eight, twelve = (XPos(16)(torch.arange(n), heads=2) for n in (8, 12))
    assert torch.equal(eight.cos[3], twelve.cos[3])
    assert torch.equal(eight.sin[3], twelve.sin[3])


@torch.no_grad()
def test_a_captured_hidden_state_stays_what_it_was(twins, text):
    reference, ours = twins(RLHF)
    for model, block in ((reference, reference.layers[0].fn), (ours, ours.decoder.blocks[0])):
        kept = []
        block.register_forward_pre_hook(lambda _, given, kept=kept: kept.append((given[0], given[0] + 0)))
        model.requires_grad_(False)
        model(text(1, 9))
        captured, copy = kept[0]
        assert torch.equal(captured, copy) == (model is ours)


# generation


@torch.no_grad()
def test_an_end_in_the_prompt_does_not_end_the_answer(twins, text):
    reference, ours = twins(RLHF)
    ids = text(1, 7)
    ids[0, 2] = 0
    assert reference.generate(7 + 10, ids, temperature=0.0, eos_token=0).shape == (1, 1)
    free = generate_ids(ours, ids, 10)
    assert not (free == 0).any()
    assert torch.equal(generate_ids(ours, ids, 10, eos_id=0), free)


@torch.no_grad()
def test_a_row_that_has_ended_writes_nothing_more(twins, text):
    reference, ours = twins(RLHF)
    ids = text(2, 7)
    one, other = generate_ids(ours, ids, 12).tolist()
    elsewhere = {*other, *ids.flatten().tolist()}
    end, at = next((token, at) for at, token in enumerate(one) if token not in elsewhere)
    theirs = reference.generate(
        7 + 12, ids, temperature=0.0, eos_token=end, filter_logits_fn=lambda logits, thres: logits
    )
    assert theirs[0, at + 1 :].tolist() == one[at + 1 :]
    found = generate_ids(ours, ids, 12, eos_id=end)
    assert found[0].tolist() == [*one[: at + 1], *[end] * (11 - at)]
    assert found[1].tolist() == other


@torch.no_grad()
def test_the_length_asked_for_is_that_of_what_is_new(twins, text):
    reference, ours = twins(RLHF)
    ids = text(1, 7)
    assert reference.generate(10, ids, temperature=0.0).shape == (1, 3)
    assert generate_ids(ours, ids, max_new_tokens=10).shape == (1, 10)


def test_a_nucleus_of_nine_tenths_holds_nine_tenths():
    chances = torch.tensor([0.4, 0.3, 0.2, 0.06, 0.04])
    theirs = top_p(chances.log()[None], thres=0.9)[0].isfinite().sum()
    assert theirs < sum(in_nucleus(chances, i, 0.9) for i in range(5)) == 3
    assert top_k(torch.randn(1, 100), thres=0.9).isfinite().sum() == 10
    assert len(likeliest(torch.randn(100), 90)[1]) == 90


@torch.no_grad()
def test_the_factor_of_qk_norm_is_used(twins, new_palm, text):
    reference, _ = twins(RLHF, qk_rmsnorm=True)
    block, ids = reference.layers[0].fn, text(1, 9)
    before = reference(ids)
    assert block.scale == 8
    block.scale = 1.0
    assert torch.equal(reference(ids), before)
    palm = new_palm(RLHF_QK_NORM)
    before = palm(ids)
    for each in palm.decoder.blocks:
        each.qk.softmax_scale = 1.0
    assert (palm(ids) - before).abs().max() > 1e-3


# scopes


@torch.no_grad()
def test_merging_keeps_the_scope_and_can_be_undone(twins, text):
    reference, ours = twins(RLHF, finetune_scopes=("prose",))
    ids = text(1, 9)
    base, scoped = ours(ids), ours(ids, scopes=["prose"])
    reference.merge_finetune_params("prose")
    assert "prose" not in reference.finetune_modules
    ours.merge_scope("prose")
    assert_close(ours(ids), scoped, **equal)
    ours.unmerge_scope("prose")
    assert torch.equal(ours(ids), base) and torch.equal(ours(ids, scopes=["prose"]), scoped)


@torch.no_grad()
def test_adapters_in_full_precision_run_on_a_half_precision_base(twins, text):
    reference, ours = twins(RLHF, finetune_scopes=("prose",))
    ids = text(1, 9)
    for model, adapters in ((reference, reference.finetune_modules), (ours, ours.scopes)):
        model.bfloat16()
        adapters.float()
    with pytest.raises(RuntimeError):
        reference(ids, finetune_scope="prose")
    assert ours.embed(ids, scopes=["prose"]).dtype == torch.bfloat16


def test_a_dotted_scope_name_is_refused_with_what_is_allowed(new_palm):
    with pytest.raises(KeyError):
        PaLM(**SIZE, finetune_scopes=("a.b",))
    with pytest.raises(ScopeError, match=r"'a\.b' is not allowed; use letters, digits"):
        new_palm().add_scope("a.b", rank=2)


def test_a_base_and_its_scopes_are_files_of_their_own(tmp_path, twins, text):
    reference, ours = twins(RLHF, finetune_scopes=("prose",))
    with pytest.raises(RuntimeError, match="Unexpected"):
        PaLM(**SIZE).load_state_dict(reference.state_dict())
    ours.scopes.bfloat16().float()  # what the file keeps
    save_adapter(tmp_path / "prose.safetensors", ours, ours.scopes["prose"])
    base = {n: t for n, t in reference.state_dict().items() if not n.startswith("finetune")}
    loaded = from_reference(RLHF, base, **SIZE)
    load_scope(tmp_path / "prose.safetensors", loaded, "prose")
    ids = text(1, 9)
    assert_close(loaded(ids, scopes=["prose"]), ours(ids, scopes=["prose"]), **equal)


def test_the_end_of_a_text_is_learned(twins, text):
    reference, ours = twins(RLHF)
    ids = text(1, 9)
    ids[0, -1] = 0
    reference(ids, return_loss=True)
    with_end = ours.loss(ids[:, :-1], ids[:, 1:])
    without = ours.loss(ids[:, :-2], ids[:, 1:-1])
    assert_close(reference(ids, return_loss=True), without, **equal)
    assert (with_end - without).abs() > 1e-3
