"""Beam search: the likeliest texts with their exact probabilities, against all texts there are."""

import itertools
import math

import pytest
import torch

from palm_demo.inference.beam_search import beam_search

VOCAB, EOS, LONGEST = 4, 0, 3
CPU = torch.device("cpu")


class Trie:
    """A language model of four ids: random next-id probabilities after each text."""

    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)
        self.tables: dict[tuple, torch.Tensor] = {}

    def logits(self, text: tuple) -> torch.Tensor:
        if text not in self.tables:
            self.tables[text] = 2 * torch.randn(VOCAB, generator=self.generator)
        return self.tables[text]

    def prefill(self, ids, lengths, capacity):
        cache = Texts([()])
        return self.logits(()).unsqueeze(0), cache

    def decode_step(self, ids, cache):
        cache.rows = [(*row, token) for row, token in zip(cache.rows, ids.tolist(), strict=True)]
        return torch.stack([self.logits(row) for row in cache.rows])

    def all_texts(self, banned=()) -> dict[tuple, float]:
        """Every text of up to LONGEST ids -> its probability."""
        found = {}
        for length in range(LONGEST + 1):
            for text in itertools.product(range(1, VOCAB), repeat=length):
                ids = text if length == LONGEST else (*text, EOS)
                found[text] = math.exp(sum(self.chance(ids[:n], ids[n], banned) for n in range(len(ids))))
        return found

    def chance(self, text: tuple, token: int, banned) -> float:
        logits = self.logits(text).clone()
        logits[list(banned)] = -torch.inf
        return float(logits.log_softmax(0)[token])


class Texts:
    """A cache that remembers what each row has read."""

    def __init__(self, rows: list[tuple]):
        self.rows = rows

    def reorder(self, rows: list[int]) -> None:
        self.rows = [self.rows[row] for row in rows]


def search(model: Trie, width: int, banned=()) -> dict[tuple, float]:
    found = beam_search(model.prefill, model.decode_step, [1], width, LONGEST, EOS, banned, CPU)
    return {tuple(ids): math.exp(score) for ids, score in found.texts}


def greedy_of(model: Trie, banned=()) -> list[int]:
    """The text that takes the likeliest id each time."""
    text: list[int] = []
    while len(text) < LONGEST:
        logits = model.logits(tuple(text)).clone()
        logits[list(banned)] = -torch.inf
        if (token := int(logits.argmax())) == EOS:
            break
        text.append(token)
    return text


@pytest.mark.parametrize("seed", range(5))
def test_a_wide_beam_finds_the_likeliest_texts_with_their_probabilities(seed):
    model, width = Trie(seed), 40
    expected = model.all_texts()
    assert sum(expected.values()) == pytest.approx(1)
    found = search(model, width)
    best = sorted(expected, key=expected.get, reverse=True)[: len(found)]
    assert list(found) == best
    assert list(found.values()) == pytest.approx([expected[text] for text in best], rel=1e-4)


@pytest.mark.parametrize("width", [1, 2, 5])
def test_a_narrow_beam_gives_true_probabilities_best_first(width):
    model = Trie(7)
    found, expected = search(model, width), model.all_texts()
    assert 1 <= len(found) <= width
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert all(chance == pytest.approx(expected[text], rel=1e-4) for text, chance in found.items())


@pytest.mark.parametrize("width", [1, 2, 5])
@pytest.mark.parametrize("seed", range(20))
def test_the_greedy_text_comes_along_whether_or_not_it_is_among_the_likeliest(seed, width):
    """And its row changes nothing for the others."""
    model, sizes, step = Trie(seed), [], Trie.decode_step
    model.decode_step = lambda ids, cache: (sizes.append(len(ids)), step(model, ids, cache))[1]
    found = beam_search(model.prefill, model.decode_step, [1], width, LONGEST, EOS, [2], CPU)
    assert len(sizes) < LONGEST and max(sizes, default=1) <= width + 1
    assert found.greedy == greedy_of(model, [2])
    assert {tuple(ids): math.exp(score) for ids, score in found.texts} == search(model, width, [2])


def test_a_greedy_text_that_no_beam_is_goes_on_after_the_others():
    apart = 0
    for model in map(Trie, range(100)):
        found = beam_search(model.prefill, model.decode_step, [1], 1, LONGEST, EOS, [], CPU)
        assert found.greedy == greedy_of(model)
        apart += len(found.greedy) == LONGEST and found.greedy != found.texts[0][0]
    assert apart


def test_banned_ids_never_come_out_and_leave_their_chance_to_others():
    model = Trie(3)
    found, expected = search(model, 40, banned=[2]), model.all_texts(banned=[2])
    assert not any(2 in text for text in found)
    assert all(chance == pytest.approx(expected[text], rel=1e-4) for text, chance in found.items())
    assert sum(found.values()) == pytest.approx(1, rel=1e-4)


def test_no_text_ends_before_it_has_so_many_tokens():
    found = beam_search(Trie(0).prefill, Trie(0).decode_step, [9], 60, LONGEST, EOS, (), CPU, min_tokens=3)
    assert {len(text) for text, _ in found.texts} == {2, 3}  # behind a prompt of one
    assert sum(math.exp(score) for _, score in found.texts) == pytest.approx(1)
