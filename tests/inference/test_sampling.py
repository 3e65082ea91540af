"""One step of sampling."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from palm_demo.errors import SamplingError
from palm_demo.inference.sampling import Sampler, SamplingParams, in_nucleus, likeliest, penalize_
from palm_demo.inference.settings import GenerationConfig

LOGITS = torch.tensor([1.0, 4.0, -2.0, 3.9, 0.0, 2.5, -7.0, 3.0])


def drawn(sampling: SamplingParams, banned=(), count: int = 400, logits=LOGITS) -> Counter:
    sampler = Sampler(sampling, banned)
    return Counter(sampler(logits, []) for _ in range(count))


def nucleus(logits: torch.Tensor, p: float) -> set[int]:
    """The smallest set of likeliest ids whose probability reaches p, one id at a time."""
    chances = logits.double().softmax(dim=-1).tolist()
    chosen, total = set(), 0.0
    for token_id in sorted(range(len(chances)), key=lambda i: -chances[i]):
        chosen.add(token_id)
        total += chances[token_id]
        if total >= p:
            break
    return chosen


def test_temperature_zero_takes_the_likeliest_id():
    assert drawn(SamplingParams(temperature=0), count=5) == {1: 5}


def test_sampling_follows_the_probabilities_at_its_temperature():
    for temperature in (0.5, 1.0, 2.0):
        found = drawn(SamplingParams(temperature=temperature, seed=0), count=3000)
        shares = torch.tensor([found[i] / 3000 for i in range(8)])
        assert_close(shares, (LOGITS / temperature).softmax(dim=-1), atol=0.03, rtol=0)


def test_a_temperature_next_to_zero_is_greedy():
    for temperature in (1e-3, 1e-38, 1e-300):
        assert drawn(SamplingParams(temperature=temperature, seed=0), count=20) == {1: 20}


def test_the_same_seed_gives_the_same_ids_and_another_seed_others():
    def run(seed):
        sampler = Sampler(SamplingParams(temperature=1.0, seed=seed), [])
        return [sampler(torch.zeros(1000), []) for _ in range(8)]

    assert run(7) == run(7) != run(8)
    assert run(None) != run(None)


def test_other_randomness_does_not_disturb_a_seeded_row():
    runs = []
    for noise in (0, 5):
        sampler, other = (Sampler(SamplingParams(temperature=1.0, seed=seed), []) for seed in (7, 8))
        torch.manual_seed(noise)
        runs.append([])
        for _ in range(8):
            for _ in range(noise):
                torch.rand(1)
                other(torch.zeros(1000), [])
            runs[-1].append(sampler(torch.zeros(1000), []))
    assert runs[0] == runs[1]


@pytest.mark.parametrize("k", [1, 2, 5, 8, 100])
def test_top_k_keeps_the_k_likeliest(k):
    for _ in range(20):
        logits = torch.randn(50)
        kept, ids = likeliest(logits, k)
        assert ids.tolist() == sorted(range(50), key=lambda i: -logits[i])[:k]
        assert torch.equal(kept, logits[ids])


@pytest.mark.parametrize("p", [0.05, 0.3, 0.5, 0.9, 0.99])
def test_the_nucleus_is_the_smallest_set_that_reaches_p(p):
    for spread in (0.1, 2.0):
        logits = torch.randn(50) * spread
        chances = logits.double().softmax(dim=-1)
        assert {i for i in range(50) if in_nucleus(chances, i, p)} == nucleus(logits, p)


@pytest.mark.parametrize("spread", [0.1, 3.0], ids=["flat", "peaked"])
@pytest.mark.parametrize("p", [0.01, 0.3, 0.8])
def test_sampling_follows_the_probabilities_within_the_nucleus(p, spread):
    logits = torch.randn(12) * spread
    inside = sorted(nucleus(logits, p))
    found = drawn(SamplingParams(temperature=1.0, top_p=p, seed=0), count=3000, logits=logits)
    assert found.keys() <= set(inside)
    shares = torch.tensor([found[i] / 3000 for i in inside])
    assert_close(shares, logits[inside].softmax(dim=-1), atol=0.03, rtol=0)


@pytest.mark.parametrize("settings", [{}, {"min_p": 0.1}], ids=str)
def test_ids_that_win_the_race_of_all_win_that_of_the_likeliest(settings):
    """A seed's random numbers are those of ids, so that a limit changes nothing but who may win."""
    logits, alike = torch.randn(50) * 2, 0
    for seed in range(200):
        free, limited = (
            Sampler(SamplingParams(temperature=1.0, seed=seed, top_k=k, **settings), [])(logits, [])
            for k in (0, 30)
        )
        if free in likeliest(logits, 30)[1]:
            assert free == limited
            alike += 1
    assert alike > 100


def test_top_p_of_zero_keeps_one_id():
    assert drawn(SamplingParams(temperature=1.0, top_p=0.0), count=20) == {1: 20}


@pytest.mark.parametrize("p", [0.05, 0.5, 1.0])
def test_min_p_keeps_what_is_at_least_that_part_of_the_likeliest(p):
    chances = (LOGITS / 2).softmax(dim=-1)
    found = drawn(SamplingParams(temperature=2.0, min_p=p, seed=0), count=3000)
    assert set(found) == {i for i, chance in enumerate(chances.tolist()) if chance >= p * chances.max()}


def test_min_p_and_top_p_hold_together():
    inside = nucleus(LOGITS / 5, 0.9)
    found = set(drawn(SamplingParams(temperature=5.0, top_p=0.9, min_p=0.6, seed=0), count=3000))
    assert found < inside and 1 in found


def test_temperature_comes_before_top_p():
    hot = SamplingParams(temperature=5.0, top_p=0.5, seed=0)
    assert set(drawn(hot)) == nucleus(LOGITS / 5.0, 0.5)
    assert len(nucleus(LOGITS / 5.0, 0.5)) > len(nucleus(LOGITS, 0.5))


def test_top_k_and_top_p_hold_together():
    assert set(drawn(SamplingParams(temperature=10.0, top_k=3, top_p=0.95, seed=0))) == {1, 3, 7}
    assert set(drawn(SamplingParams(temperature=1.0, top_k=3, top_p=0.5, seed=0))) == {1, 3}


@pytest.mark.parametrize("settings", [{}, {"top_k": 4}, {"top_p": 0.5}, {"repetition_penalty": 0.1}], ids=str)
def test_banned_ids_never_come_out_even_at_temperature_10(settings):
    banned = [1, 3, 4]
    assert not drawn(SamplingParams(temperature=10, seed=0, **settings), banned).keys() & set(banned)
    assert drawn(SamplingParams(temperature=0), banned, count=1) == {7: 1}


@pytest.mark.parametrize("settings", [SamplingParams(), SamplingParams(temperature=10.0, seed=1)])
def test_a_text_does_not_end_before_it_has_so_many_tokens(settings):
    end = int(LOGITS.argmax())
    sampler = Sampler(settings, (), end, min_tokens=3)
    assert end not in {sampler(LOGITS, [0] * length) for length in (0, 1, 2) for _ in range(50)}
    assert end in {sampler(LOGITS, [0] * 3) for _ in range(200)}


def test_a_repetition_penalty_makes_what_was_said_less_likely():
    logits = LOGITS.clone()
    penalize_(logits, [1, 2, 1, 1, 4], 2.0)
    assert_close(logits, torch.tensor([1.0, 2.0, -4.0, 3.9, 0.0, 2.5, -7.0, 3.0]))


def test_a_repetition_penalty_reads_the_history():
    sampler = Sampler(SamplingParams(repetition_penalty=2.0), [])
    assert [sampler(LOGITS, said) for said in ([], [1], [1, 3], [0])] == [1, 3, 7, 1]
    assert Sampler(SamplingParams(), [])(LOGITS, [1]) == 1


def test_the_logits_given_are_left_as_they_are():
    logits = LOGITS.clone()
    Sampler(SamplingParams(temperature=1.0, top_k=2, top_p=0.5, repetition_penalty=2.0), [1])(logits, [3])
    assert torch.equal(logits, LOGITS)


@pytest.mark.parametrize(
    ("name", "value", "limits"),
    [
        ("temperature", -0.1, "0 to 10"),
        ("temperature", 10.1, "0 to 10"),
        ("temperature", float("nan"), "0 to 10"),
        ("temperature", "warm", "0 to 10"),
        ("temperature", None, "0 to 10"),
        ("top_k", -1, "0 to 1000000"),
        ("top_k", 2.5, "0 to 1000000"),
        ("top_k", True, "0 to 1000000"),
        ("top_p", -0.1, "0 to 1"),
        ("min_p", 1.1, "0 to 1"),
        ("top_p", 1.1, "0 to 1"),
        ("top_p", float("inf"), "0 to 1"),
        ("repetition_penalty", 0, "0.1 to 10"),
        ("repetition_penalty", 11, "0.1 to 10"),
        ("seed", -1, f"0 to {2**63 - 1}"),
        ("seed", 2**63, f"0 to {2**63 - 1}"),
        ("seed", 1.5, f"0 to {2**63 - 1}"),
        ("seed", "7", f"0 to {2**63 - 1}"),
    ],
)
def test_a_setting_outside_its_range_is_refused_by_name_with_value_and_range(name, value, limits):
    with pytest.raises(SamplingError) as caught:
        SamplingParams(**{name: value})
    assert str(caught.value).startswith(f"{name} is {value!r}; it can be ")
    assert limits in str(caught.value)


def test_settings_at_the_ends_of_their_ranges_work():
    for settings in (
        {"temperature": 10, "top_k": 1_000_000, "repetition_penalty": 10, "seed": 2**63 - 1},
        {"temperature": 0.01, "top_p": 0, "repetition_penalty": 0.1, "seed": 0},
        {"temperature": np.float32(1), "top_k": np.int64(2), "seed": np.int64(3)},
    ):
        assert Sampler(SamplingParams(**settings), [])(LOGITS, [1, 2]) in range(8)


def said_among(choices: list[list[int]], logits: torch.Tensor, sampling: SamplingParams) -> list[int]:
    """The ids that are drawn after a prompt, until the id 0 ends them."""
    sampler, history = Sampler(sampling, [1], eos_id=0, min_tokens=99, choices=choices), [7, 6]
    while history[-1] != 0:
        history.append(sampler(logits, history))
    return history[2:-1]


def test_of_choices_the_likeliest_is_drawn_token_by_token():
    assert said_among([[2, 3], [6, 1]], LOGITS, SamplingParams()) == [2, 3]
    assert said_among([[2, 6], [2, 4, 4], [6]], LOGITS, SamplingParams()) == [2, 4, 4]


def test_a_choice_may_be_the_beginning_of_another():
    for end, said in ((5.0, [2]), (-5.0, [2, 3])):
        logits = LOGITS.clone()
        logits[0] = end
        assert said_among([[2], [2, 3]], logits, SamplingParams()) == said


def test_choices_are_drawn_by_their_probability():
    drawn = Counter(
        tuple(said_among([[2, 3], [4]], LOGITS, SamplingParams(temperature=1, seed=seed)))
        for seed in range(400)
    )
    share = LOGITS[[2, 4]].softmax(dim=0)[0].item()
    assert set(drawn) == {(2, 3), (4,)} and abs(drawn[2, 3] / 400 - share) < 0.05


def test_choices_come_whole_however_unlikely_they_are():
    for settings in ({"top_k": 1}, {"top_p": 0.1}, {"min_p": 0.9}, {"repetition_penalty": 9.0}):
        assert said_among([[6, 6, 2]], LOGITS, SamplingParams(temperature=1, **settings)) == [6, 6, 2]


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ("dax", "choices is 'dax'; give a list of texts"),
        ([1], "choices is .*; give a list of texts"),
        (["dax", " "], "a text of choices is empty; leave it out"),
        (["dax"] * 65, "choices has 65 texts and at most 64 fit"),
        (["d" * 201], "a text of choices has 201 characters and at most 200 fit"),
    ],
)
def test_choices_that_cannot_be_are_refused(choices, said):
    with pytest.raises(SamplingError, match=said):
        GenerationConfig(choices=choices)
