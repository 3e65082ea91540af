"""Scopes mixed at inference: several in one request, each with a strength."""

import math
from types import MappingProxyType

import pytest
import torch
from torch.testing import assert_close

from palm_demo.errors import ScopeError
from palm_demo.models import PaLM
from palm_demo.models.lora import mix_adapters, scope_label, strengths, with_adapters

close = {"atol": 1e-5, "rtol": 1e-5}
MIX = {"carroll": 0.7, "poe": 0.5}


@pytest.fixture
def palm(new_palm) -> PaLM:
    palm = new_palm()
    for name, rank in (("carroll", 2), ("poe", 5), ("doyle", 3)):
        for weight in palm.add_scope(name, rank).parameters():
            weight.data.normal_(std=0.1)
    return palm.freeze_()


def merged_by_hand(palm: PaLM, mix: dict[str, float]) -> None:
    """The mix added to the weights, by nothing but its formula."""
    for depth, block in enumerate(palm.decoder.blocks):
        for name, strength in mix.items():
            layer = palm.scopes[name].layers[depth]
            inputs = torch.cat([layer[p].weight for p in ("query", "key", "value")], dim=1).T
            block.fused.weight.data[: len(inputs)] += strength * inputs
            block.attention_out.weight.data += strength * layer["out"].weight.T


@pytest.mark.parametrize(
    "mix", [MIX, {"carroll": -1.0}, {"carroll": 0.3, "poe": -0.4, "doyle": 1.5}, {"poe": 1, "doyle": 0}]
)
def test_a_mix_equals_the_merged_weights(palm, new_ids, mix):
    ids = new_ids(2, 9)
    base, active = palm(ids), palm(ids, scopes=[mix, mix])
    assert (active - base).abs().max() > 1e-3
    merged_by_hand(palm, mix)
    assert_close(palm(ids), active, **close)


def test_one_scope_at_strength_one_is_that_scope_bit_for_bit(palm, new_ids):
    ids = new_ids(2, 9)
    for mix in ({"poe": 1}, {"poe": 1.0, "carroll": 0.0}):
        assert torch.equal(palm(ids, scopes=[mix] * 2), palm(ids, scopes=["poe"] * 2))


def test_strengths_of_nothing_are_the_base(palm, new_ids):
    ids = new_ids(1, 9)
    assert torch.equal(palm(ids, scopes=[{"poe": 0, "doyle": 0.0}]), palm(ids))


def test_a_strength_and_its_opposite_cancel(palm, new_ids):
    ids, own = new_ids(1, 9), palm.new_adapter(5)
    own.load_state_dict(palm.scopes["poe"].state_dict())
    assert_close(palm(ids, scopes=[{"poe": 0.8, own: -0.8}]), palm(ids), **close)


def test_mixes_stand_beside_others_in_a_batch_from_the_first_token_to_the_last(palm, new_ids):
    ids, scopes = new_ids(5, 8), [MIX, None, "doyle", {"poe": -0.5}, {**MIX}]
    full = palm(ids, scopes=scopes)
    for row, scope in enumerate(scopes):
        assert_close(full[row], palm(ids[row : row + 1], scopes=[scope])[0], atol=1e-4, rtol=1e-4)
    logits, cache = palm.prefill(ids[:, :5], [5] * 5, 8, scopes)
    assert_close(logits, full[:, 4], atol=1e-4, rtol=1e-4)
    for n in range(5, 8):
        assert_close(palm.decode_step(ids[:, n], cache), full[:, n], atol=1e-4, rtol=1e-4)


def test_mixing_changes_no_scope(palm, new_ids):
    before = {name: weight.clone() for name, weight in palm.scopes.state_dict().items()}
    palm(new_ids(1, 4), scopes=[MIX])
    assert all(torch.equal(weight, before[name]) for name, weight in palm.scopes.state_dict().items())
    assert mix_adapters([(palm.scopes["poe"], 0.5), (palm.scopes["doyle"], 2.0)]).rank == 8


def test_a_mix_is_merged_and_unmerged_bit_for_bit(palm, new_ids):
    ids = new_ids(1, 9)
    before = {name: weight.clone() for name, weight in palm.decoder.state_dict().items()}
    active, poe = palm(ids, scopes=[MIX]), palm(ids, scopes=["poe"])
    palm.merge_scope(MIX)
    assert_close(palm(ids), active, **close)
    assert_close(palm(ids, scopes=[MIX]), active, **close)  # not applied twice
    assert_close(palm(ids, scopes=[{"carroll": 0.0, "poe": 1.0}]), poe, **close)
    with pytest.raises(ScopeError, match=r"'0.7 carroll, 0.5 poe' is already merged"):
        palm.merge_scope(MIX)
    with pytest.raises(ScopeError, match=r"'0.7 carroll, 0.5 poe' is merged"):
        palm.remove_scope("poe")
    palm.unmerge_scope(MIX)
    assert all(torch.equal(weight, before[name]) for name, weight in palm.decoder.state_dict().items())


def test_a_merged_scope_asked_for_at_half_its_strength_has_half(palm, new_ids):
    ids = new_ids(1, 9)
    half = palm(ids, scopes=[{"carroll": 0.5}])
    palm.merge_scope("carroll")
    assert_close(palm(ids, scopes=[{"carroll": 0.5}]), half, **close)


@pytest.mark.parametrize(
    "mix, said",
    [
        ({}, "has 0 scopes; name 1 to 8"),
        ({f"s{i}": 1.0 for i in range(9)}, "has 9 scopes"),
        ({"poe": "much"}, "strength is 'much'"),
        ({"poe": True}, "strength is True"),
        ({"poe": math.nan}, "strength is nan"),
        ({"poe": -4.5}, "strength is -4.5; it can be a number from -4 to 4"),
        ({"poe": 0.5, "nobody": 0.5}, "no scope 'nobody'"),
    ],
)
def test_a_mix_that_is_none_is_explained(palm, new_ids, mix, said):
    with pytest.raises(ScopeError, match=said):
        palm(new_ids(1, 4), scopes=[mix])


def test_an_adapter_of_another_model_is_refused_in_a_mix_too(palm, new_ids, new_palm):
    stranger = type(palm.scopes["poe"])(type(palm.scopes.shape)(8, 8, 8, 1), 2)
    with pytest.raises(ScopeError, match="fine-tune it here again"):
        palm(new_ids(1, 4), scopes=[{"poe": 0.5, stranger: 0.5}])


def test_mixes_are_spelled_as_they_are_said(palm):
    assert scope_label(MIX) == "0.7 carroll, 0.5 poe"
    assert scope_label({"poe": -1}) == "-1 poe" and scope_label("poe") == scope_label({"poe": 1}) == "poe"
    assert scope_label(None) == "base" and strengths(None) == {}
    assert scope_label({palm.new_adapter(2): 1, palm.new_adapter(2): 0.5}) == "1 own, 0.5 own"


def test_what_stands_for_an_adapter_elsewhere_takes_its_place_in_a_mix(palm):
    own = palm.new_adapter(2)
    assert with_adapters({"poe": 0.5, own: 2.0}, lambda adapter: "lent") == {"poe": 0.5, "lent": 2.0}
    mix = MappingProxyType({own: 2.0})
    assert with_adapters(mix, lambda adapter: "lent") == {"lent": 2.0}
    assert with_adapters(own, lambda adapter: "lent") == "lent" and with_adapters("poe", str) == "poe"


def test_a_session_writes_and_reads_in_a_mix(session):
    one, other = session.scopes[:2]
    mix = {one: 0.7, other: -0.5}
    settings = {"max_new_tokens": 10, "temperature": 0.0}
    assert session.generate("The night was", {one: 1.0}, **settings) == session.generate(
        "The night was", one, **settings
    )
    text = "It was a dark night, and the old man went down to the sea."
    bits = session.bits_per_byte(text, mix)
    assert bits not in (session.bits_per_byte(text), session.bits_per_byte(text, one))
    assert session.token_probabilities(text, mix) != session.token_probabilities(text, one)
    assert "".join(session.stream("The night was", mix, **settings)) == session.generate(
        "The night was", mix, **settings
    )
    with pytest.raises(ScopeError, match="no scope 'nobody'"):
        session.stream("The night", {"nobody": 0.5})
