"""LoRA scopes: what they change, and for whom."""

import pytest
import torch
from torch.testing import assert_close

from palm_demo.errors import ScopeError
from palm_demo.models import PaLM
from palm_demo.models.layers import STYLES
from palm_demo.models.transformer import TransformerConfig
from tests.scopes import learn, with_two_scopes

close = {"atol": 1e-4, "rtol": 1e-4}


@pytest.fixture
def palm(new_palm) -> PaLM:
    return with_two_scopes(new_palm())


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


@pytest.mark.parametrize(
    ("scopes", "wrong"),
    [(["carroll"], "length 1 .* 3 rows"), (["carroll"] * 4, "length 4 .* 3 rows"), ("abc", "is 'abc'")],
)
def test_scopes_that_are_not_one_for_each_row_are_refused(palm, new_ids, scopes, wrong):
    with pytest.raises(ScopeError, match=f"{wrong}; give"):
        palm(new_ids(3, 4), scopes=scopes)
    with pytest.raises(ScopeError, match=f"{wrong}; give"):
        palm.prefill(new_ids(3, 4), [4, 4, 4], 8, scopes)


def test_adapters_without_names_are_merged_each_for_itself(palm, new_ids):
    ids, (one, other) = new_ids(1, 6), (palm.new_adapter(2), palm.new_adapter(2))
    for weight in (*one.parameters(), *other.parameters()):
        weight.data.normal_(std=0.2)
    base, of_one = palm(ids), palm(ids, scopes=[one])
    palm.merge_scope(one)
    palm.merge_scope(other)
    with pytest.raises(ScopeError, match="unmerge 'own' first"):
        palm.unmerge_scope(one)
    palm.unmerge_scope(other)
    assert_close(palm(ids), of_one, **close)
    palm.unmerge_scope(one)
    assert torch.equal(palm(ids), base)


def test_a_scope_is_the_same_by_its_name_and_by_its_adapter(palm, new_ids):
    ids, carroll = new_ids(1, 6), palm.scopes["carroll"]
    assert_close(palm(ids, scopes=[{"carroll": 2.0, carroll: -1.0}]), palm(ids, scopes=["carroll"]), **close)
    wanted = palm(ids, scopes=["carroll"])
    palm.merge_scope(carroll)
    assert_close(palm(ids, scopes=["carroll"]), wanted, **close)
    with pytest.raises(ScopeError, match="already merged"):
        palm.merge_scope("carroll")
    with pytest.raises(ScopeError, match="unmerge it first"):
        palm.remove_scope("carroll")
    palm.unmerge_scope("carroll")
    assert not palm.scopes.merged


def test_the_base_model_cannot_be_merged_into_itself(palm):
    with pytest.raises(ScopeError, match="nothing to merge"):
        palm.merge_scope(None)


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
