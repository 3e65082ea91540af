"""LoRA scopes: what they change, for whom, and how they travel."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from palm_demo.checkpoints import files, fingerprint, load_adapter, load_scope, save_adapter
from palm_demo.errors import CheckpointError, ScopeError
from palm_demo.models import PaLM
from palm_demo.models.layers import MULTIMODAL, RLHF, STYLES
from palm_demo.models.transformer import TransformerConfig

close = {"atol": 1e-4, "rtol": 1e-4}


def learn(palm: PaLM, name: str, rank: int) -> None:
    """A scope as if it had been trained."""
    for weight in palm.add_scope(name, rank).parameters():
        weight.data.normal_(std=0.2)


@pytest.fixture
def palm(new_palm) -> PaLM:
    palm = new_palm()
    learn(palm, "carroll", rank=2)
    learn(palm, "doyle", rank=5)
    return palm


def weights(palm: PaLM) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in palm.decoder.state_dict().items()}


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_fresh_scope_changes_nothing(new_palm, new_ids):
    palm, ids = new_palm(), new_ids(2, 6)
    before = palm(ids)
    palm.add_scope("fresh", 4)
    assert torch.equal(palm(ids), before)
    assert torch.equal(palm(ids, scopes=["fresh", "fresh"]), before)


def test_a_scope_changes_the_request_that_names_it_and_no_other(palm, new_ids):
    ids = new_ids(1, 6)
    before = palm(ids)
    assert (palm(ids, scopes=["carroll"]) - before).abs().max() > 0.1
    assert torch.equal(palm(ids), before)
    assert torch.equal(palm(ids, scopes=[None]), before)


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_merged_lora_equals_active_lora(style, new_palm, new_ids):
    palm, ids = new_palm(style), new_ids(2, 6)
    learn(palm, "carroll", rank=3)
    active = palm(ids, scopes=["carroll", "carroll"])
    palm.merge_scope("carroll")
    assert_close(palm(ids), active, **close)


def test_a_merged_scope_asked_for_by_name_is_not_applied_twice(palm, new_ids):
    ids = new_ids(1, 6)
    active = palm(ids, scopes=["carroll"])
    palm.merge_scope("carroll")
    assert_close(palm(ids, scopes=["carroll"]), active, **close)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_unmerge_restores_the_weights_bit_for_bit(palm, dtype):
    palm.to(dtype)
    before = weights(palm)
    palm.merge_scope("carroll")
    assert not same(weights(palm), before)
    palm.unmerge_scope("carroll")
    assert same(weights(palm), before)


def test_several_merges_are_undone_last_in_first_out(palm):
    before = weights(palm)
    palm.merge_scope("carroll")
    palm.merge_scope("doyle")
    with pytest.raises(ScopeError, match="unmerge 'doyle' first"):
        palm.unmerge_scope("carroll")
    palm.unmerge_scope("doyle")
    palm.unmerge_scope("carroll")
    assert same(weights(palm), before)


def test_a_batch_that_mixes_scopes_equals_its_rows_alone(palm, new_ids):
    ids, scopes = new_ids(4, 6), ["carroll", None, "doyle", "carroll"]
    together = palm(ids, scopes=scopes)
    for row, scope in enumerate(scopes):
        assert_close(together[row], palm(ids[row : row + 1], scopes=[scope])[0], **close)


def test_scopes_of_a_batch_hold_from_the_first_token_to_the_last(palm, new_ids):
    ids, scopes = new_ids(3, 8), ["doyle", None, "carroll"]
    full = palm(ids, scopes=scopes)
    logits, cache = palm.prefill(ids[:, :5], [5, 5, 5], 8, scopes)
    assert_close(logits, full[:, 4], **close)
    for n in range(5, 8):
        assert_close(palm.decode_step(ids[:, n], cache), full[:, n], **close)


def test_with_the_model_frozen_a_new_scope_alone_learns(new_palm, new_ids):
    palm = new_palm().freeze_()
    learn(palm, "carroll", rank=2)
    palm.loss(new_ids(2, 6), new_ids(2, 6), ["carroll", "carroll"]).backward()
    learned = {name for name, weight in palm.named_parameters() if weight.grad is not None}
    assert learned == {f"scopes.{name}" for name, _ in palm.scopes.named_parameters()}


def test_scopes_survive_a_cast_to_bfloat16(palm, new_ids):
    ids = new_ids(1, 6)
    effect = palm(ids, scopes=["carroll"]) - palm(ids)
    palm.to(torch.bfloat16)
    assert palm.scopes.names == ["carroll", "doyle"]
    cast = palm(ids, scopes=["carroll"]) - palm(ids)
    assert torch.corrcoef(torch.stack((cast.flatten(), effect.flatten())))[0, 1] > 0.98


def test_an_fp32_scope_works_and_merges_on_a_bfloat16_model(palm, new_ids):
    ids = new_ids(1, 6)
    palm.to(torch.bfloat16)
    palm.scopes.float()
    active = palm(ids, scopes=["carroll"]).float()
    base = palm(ids).float()
    palm.merge_scope("carroll")
    assert (palm(ids).float() - active).norm() < 0.2 * (base - active).norm()


def test_an_adapter_is_a_scope_for_whoever_has_it(palm, new_ids):
    ids, names = new_ids(3, 6), palm.scopes.names
    own = palm.new_adapter(rank=3)
    assert torch.equal(palm(ids, scopes=[own] * 3), palm(ids))
    for weight in own.parameters():
        weight.data.normal_(std=0.2)
    together = palm(ids, scopes=[own, "doyle", None])
    for row, scope in enumerate((own, "doyle", None)):
        assert_close(together[row], palm(ids[row : row + 1], scopes=[scope])[0], **close)
    assert (together[0] - palm(ids[:1])[0]).abs().max() > 0.1
    assert palm.scopes.names == names


def test_an_adapter_of_another_model_is_refused(palm, new_palm, new_ids):
    other = new_palm(size=TransformerConfig(dim=48, depth=2, heads=2, vocab=48, dim_head=16)).new_adapter(2)
    with pytest.raises(ScopeError, match="fine-tune it here again"):
        palm(new_ids(1, 6), scopes=[other])


def test_fresh_adapters_of_one_seed_are_alike(palm):
    one, same, other = (palm.new_adapter(2, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    downs = [adapter.layers[0]["query"].down for adapter in (one, same, other)]
    assert torch.equal(downs[0], downs[1]) and not torch.equal(downs[0], downs[2])


@pytest.mark.parametrize("act", ["remove_scope", "merge_scope"])
def test_an_unknown_scope_is_named_with_those_that_are_known(palm, act):
    with pytest.raises(ScopeError, match=r"no scope 'verne'; known scopes: carroll, doyle"):
        getattr(palm, act)("verne")


def test_a_request_for_an_unknown_scope_is_refused(palm, new_ids):
    for scopes in (["verne", "carroll"], ["carroll", "verne"]):
        with pytest.raises(ScopeError, match="'verne'"):
            palm(new_ids(2, 4), scopes=scopes)
        with pytest.raises(ScopeError, match="'verne'"):
            palm.prefill(new_ids(2, 4), [4, 4], 8, scopes)


def test_what_is_not_merged_cannot_be_unmerged_nor_merged_twice(palm):
    with pytest.raises(ScopeError, match="not merged"):
        palm.unmerge_scope("carroll")
    palm.merge_scope("carroll")
    with pytest.raises(ScopeError, match="already merged"):
        palm.merge_scope("carroll")


def test_a_removed_scope_is_gone_and_its_name_free(palm, new_ids):
    palm.remove_scope("carroll")
    assert palm.scopes.names == ["doyle"]
    with pytest.raises(ScopeError, match="'carroll'"):
        palm(new_ids(1, 4), scopes=["carroll"])
    palm.add_scope("carroll", 3)


def test_a_merged_scope_cannot_be_removed(palm):
    palm.merge_scope("carroll")
    with pytest.raises(ScopeError, match="unmerge it first"):
        palm.remove_scope("carroll")


@pytest.mark.parametrize("name", ["", "a.b", "a b", "../a", "-a", "é", "@a", "a\n", "a" * 65])
def test_bad_names_are_refused(palm, name):
    with pytest.raises(ScopeError, match="not allowed"):
        palm.add_scope(name, 2)
    assert palm.scopes.names == ["carroll", "doyle"]


def test_a_taken_name_is_refused(palm):
    with pytest.raises(ScopeError, match="already exists"):
        palm.add_scope("carroll", 2)


@pytest.mark.parametrize("name", ["train", "type", "keys", "forward", "a" * 64, "7-up_x"])
def test_any_other_name_is_allowed_also_one_that_torch_uses(palm, name):
    palm.add_scope(name, 2)
    assert name in palm.scopes.names
    palm.remove_scope(name)


def test_a_saved_scope_gives_the_same_logits_on_the_bare_model(palm, new_ids, tmp_path):
    ids = new_ids(1, 6)
    for weight in palm.scopes.parameters():
        weight.data = weight.data.bfloat16().float()
    wanted = palm(ids, scopes=["doyle"])
    save_adapter(tmp_path / "doyle.safetensors", palm, palm.scopes["doyle"])
    for name in palm.scopes.names:
        palm.remove_scope(name)
    load_scope(tmp_path / "doyle.safetensors", palm, "conan")
    assert palm.scopes.names == ["conan"]
    assert torch.equal(palm(ids, scopes=["conan"]), wanted)


def test_a_scopes_file_holds_the_scope_and_nothing_of_the_model(palm, tmp_path):
    save_adapter(tmp_path / "doyle.safetensors", palm, palm.scopes["doyle"])
    stored = sum(tensor.numel() for tensor in load_file(tmp_path / "doyle.safetensors").values())
    assert stored == sum(weight.numel() for weight in palm.scopes["doyle"].parameters())


def test_saving_an_unknown_scope_is_refused(palm, tmp_path):
    with pytest.raises(ScopeError, match="'verne'"):
        save_adapter(tmp_path / "verne.safetensors", palm, palm.scopes["verne"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "size",
    [
        TransformerConfig(dim=48, depth=2, heads=2, vocab=48, dim_head=16, ff_mult=2),
        TransformerConfig(dim=32, depth=3, heads=2, vocab=48, dim_head=16, ff_mult=2),
        TransformerConfig(dim=32, depth=2, heads=4, vocab=48, dim_head=16, ff_mult=2),
    ],
    ids=["wider", "deeper", "more heads"],
)
def test_a_file_for_another_shape_is_refused_and_nothing_is_added(palm, new_palm, size, tmp_path):
    save_adapter(tmp_path / "carroll.safetensors", palm, palm.scopes["carroll"])
    other = new_palm(MULTIMODAL, size=size)
    with pytest.raises(CheckpointError, match="does not fit the model"):
        load_scope(tmp_path / "carroll.safetensors", other, "carroll")
    assert other.scopes.names == []


@pytest.mark.parametrize("rank", [0, -1, 3, 4096, "2", None])
def test_a_file_of_an_impossible_rank_is_refused_and_nothing_is_added(palm, new_palm, rank, tmp_path):
    path = tmp_path / "odd.safetensors"
    files.write(path, palm.scopes["carroll"].state_dict(), {"kind": "scope", "rank": rank}, torch.float32)
    bare = new_palm(RLHF)
    with pytest.raises(CheckpointError):
        load_scope(path, bare, "odd")
    assert bare.scopes.names == []


def test_loading_under_a_taken_name_keeps_the_scope_that_was_there(palm, new_ids, tmp_path):
    ids = new_ids(1, 6)
    save_adapter(tmp_path / "carroll.safetensors", palm, palm.scopes["carroll"])
    before = palm(ids, scopes=["doyle"])
    with pytest.raises(ScopeError, match="already exists"):
        load_scope(tmp_path / "carroll.safetensors", palm, "doyle")
    assert torch.equal(palm(ids, scopes=["doyle"]), before)


def written(palm, path, change=None, **description):
    """A file of a scope whose tensors or description were changed."""
    tensors = dict(palm.scopes["doyle"].state_dict())
    tensors |= change(tensors) if change else {}
    whole = {"kind": "scope", "rank": 5, "base": fingerprint(palm.decoder.state_dict())} | description
    save_file(tensors, path, metadata={files.DESCRIPTION: json.dumps(whole)})
    return path


def test_an_adapter_comes_back_from_its_file_and_has_no_name(palm, new_ids, tmp_path):
    ids, own = new_ids(1, 6), palm.new_adapter(3)
    for weight in own.parameters():
        weight.data.normal_(std=0.2).copy_(weight.data.bfloat16())
    save_adapter(tmp_path / "own.safetensors", palm, own)
    loaded = load_adapter(tmp_path / "own.safetensors", palm)
    assert torch.equal(palm(ids, scopes=[loaded]), palm(ids, scopes=[own]))
    assert palm.scopes.names == ["carroll", "doyle"]
    assert not any(weight.requires_grad for weight in loaded.parameters())


@pytest.mark.parametrize(
    ("change", "description", "said"),
    [
        (None, {"base": "0123"}, "trained on other base weights .0123.*fine-tune it again here"),
        (None, {"base": None}, "other base weights"),
        (None, {"kind": "palm"}, "holds a palm, not a scope"),
        (None, {"rank": 9}, "a scope's rank is 1 to 8"),
        (lambda t: {min(t): min(t.items())[1] * float("nan")}, {}, "not finite"),
        (lambda t: {min(t): min(t.items())[1] / 0}, {}, "not finite"),
        (lambda t: {min(t): min(t.items())[1].int()}, {}, "whole numbers"),
        (lambda t: {"layers.9.query.up": torch.zeros(1)}, {}, "unexpected: layers.9.query.up"),
        (
            lambda t: {name: torch.full_like(w, 1e6) for name, w in t.items()},
            {},
            "times the weights to the query",
        ),
        (lambda t: {name: 100 * w for name, w in t.items()}, {}, "a scope may add 100 times as much at most"),
        (lambda t: {name: torch.zeros_like(w) for name, w in t.items()}, {}, "nothing but zeros in .*down"),
        (lambda t: {min(t): min(t.items())[1].to(torch.float8_e4m3fn)}, {}, "in float8_e4m3fn"),
        (lambda t: {min(t): min(t.items())[1].to(torch.float8_e5m2)}, {}, "in float8_e5m2"),
        (lambda t: {min(t): min(t.items())[1].double() + 1e300}, {}, "not finite"),
        (None, {"rank": True}, "rank True; a scope's rank is"),
        (None, {"rank": 5.0}, "rank 5.0; a scope's rank is"),
        (None, {"base": ["x" * 10_000]}, "other base weights"),
    ],
)
def test_a_file_from_anywhere_is_refused_unless_it_is_a_scope_of_this_model(
    palm, tmp_path, change, description, said
):
    path = written(palm, tmp_path / "odd.safetensors", change, **description)
    with pytest.raises(CheckpointError, match=said):
        load_adapter(path, palm, highest_rank=8)


def test_a_file_larger_than_any_scope_is_not_even_opened(palm, tmp_path):
    path = tmp_path / "large.safetensors"
    path.write_bytes(bytes(1_000_000))
    with pytest.raises(CheckpointError, match="1,000,000 bytes and a scope of rank 8"):
        load_adapter(path, palm, highest_rank=8)


def test_a_file_that_is_no_safetensors_is_refused(palm, tmp_path):
    path = tmp_path / "pickled.safetensors"
    torch.save({"down": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        load_adapter(path, palm)


def test_a_fingerprint_is_of_the_stored_weights_and_of_no_others(palm, new_palm):
    stored = fingerprint(palm.decoder.bfloat16().state_dict())
    assert fingerprint(palm.decoder.float().state_dict()) == stored
    assert fingerprint(new_palm().decoder.state_dict()) != stored
    palm.decoder.blocks[0].ff_out.weight.data[0, 0] += 1
    assert fingerprint(palm.decoder.state_dict()) != stored


@pytest.mark.parametrize(
    "said",
    ["[" * 20_000, "{" * 20_000, '{"kind":' * 20_000, "[]", '"scope"', "1", "null", '{"kind": ["scope"]}'],
)
def test_a_header_that_is_no_description_is_refused(palm, said, tmp_path):
    path = tmp_path / "odd.safetensors"
    save_file(palm.scopes["doyle"].state_dict(), path, metadata={files.DESCRIPTION: said})
    with pytest.raises(CheckpointError, match=r"not one of ours|holds a"):
        load_adapter(path, palm)


def test_a_scope_that_changes_nothing_yet_comes_back_from_its_file(palm, tmp_path):
    save_adapter(tmp_path / "fresh.safetensors", palm, palm.new_adapter(2))
    assert load_adapter(tmp_path / "fresh.safetensors", palm).rank == 2


def test_an_absurd_scope_is_not_added_under_a_name(palm, tmp_path):
    path = written(
        palm, tmp_path / "odd.safetensors", lambda t: {n: torch.full_like(w, 1e6) for n, w in t.items()}
    )
    with pytest.raises(CheckpointError, match=r"adds .* times the weights"):
        load_scope(path, palm, "odd")
    assert palm.scopes.names == ["carroll", "doyle"]
