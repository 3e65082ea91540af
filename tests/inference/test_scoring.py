"""Bits per byte, of texts of any length."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from palm_demo.errors import ScopeError
from palm_demo.inference import scoring
from palm_demo.inference.scoring import author_probabilities, bits_per_byte, kept_of, token_probabilities
from palm_demo.models.layers import RLHF, STYLES, TOOLFORMER
from palm_demo.models.transformer import TransformerConfig

CONTEXT = 16
LENGTHS = [1, 2, 15, 16, 17, 18, 31, 32, 33, 47, 90, 203]


@pytest.fixture
def palm(new_palm, tokenizer):
    return new_palm(RLHF, size=TransformerConfig(32, 2, 2, len(tokenizer), dim_head=16))


def text_of(tokenizer, length: int) -> str:
    """A text of exactly so many tokens: of words that are one token each."""
    words = (" the", " of", " and", " little", " cat", " a", " to", " in", " was", " her", " it")
    text = "".join(words[i * i % len(words)] for i in range(length))
    assert len(tokenizer.encode(text)) == length
    return text


@pytest.mark.parametrize("length", LENGTHS)
def test_each_token_is_predicted_exactly_once(length, new_palm, tokenizer):
    """By a model that heeds nothing but its bias, the windows cannot matter."""
    unigram = new_palm(TOOLFORMER, size=TransformerConfig(32, 1, 2, len(tokenizer), dim_head=16))
    head = unigram.decoder.head.projection
    head.weight.data.zero_()
    head.bias.data.normal_(std=3)
    text = text_of(tokenizer, length)
    nats = -head.bias.log_softmax(dim=0)[tokenizer.encode(text)].sum().item()
    found = bits_per_byte(unigram, tokenizer, text, None, CONTEXT)
    assert found == pytest.approx(nats / math.log(2) / len(text.encode()), rel=1e-4)


@pytest.mark.parametrize("length", [1, 7, CONTEXT])
def test_a_short_text_is_scored_in_one_pass(length, palm, tokenizer):
    text = text_of(tokenizer, length)
    ids = tokenizer.encode(text)
    logits = palm(torch.tensor([[tokenizer.bos_id, *ids[:-1]]]))[0].log_softmax(dim=-1)
    bits = -logits.gather(1, torch.tensor(ids)[:, None]).sum().item() / math.log(2)
    assert bits_per_byte(palm, tokenizer, text, None, CONTEXT) == pytest.approx(
        bits / len(text.encode()), rel=1e-4
    )


@pytest.mark.parametrize("length", [17, 90, 203])
def test_each_token_is_read_once_behind_most_of_a_window(length, palm, tokenizer, monkeypatch):
    text = text_of(tokenizer, length)
    ids, seen, read = tokenizer.encode(text), [], palm.read

    def watched(new, cache):
        before = cache.tokens.lengths[0]
        assert before + new.shape[1] <= CONTEXT
        assert before >= min(len(seen), CONTEXT * 3 // 4)
        seen.extend(new[0].tolist())
        return read(new, cache)

    monkeypatch.setattr(palm, "read", watched)
    bits_per_byte(palm, tokenizer, text, None, CONTEXT)
    assert seen == [tokenizer.bos_id, *ids[:-1]]


@pytest.mark.parametrize("at_once", [3, 512])
@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
@torch.no_grad()
def test_behind_what_stays_of_a_window_a_token_is_predicted_as_in_a_text_that_begins_there(
    style, at_once, new_palm, tokenizer, monkeypatch
):
    """A model of one block sees nothing of tokens but what they are, so that windows can be read anew."""
    palm = new_palm(style, size=TransformerConfig(32, 1, 2, len(tokenizer), dim_head=16))
    monkeypatch.setattr(scoring, "TOKENS_AT_ONCE", at_once)
    text = text_of(tokenizer, 90)
    ids, nats, predicted, first = tokenizer.encode(text), 0.0, 0, 0
    while predicted < len(ids):
        stop = min(len(ids), first + CONTEXT)
        logits = palm(torch.tensor([[tokenizer.bos_id, *ids[first : stop - 1]]]))[0, predicted - first :]
        nats += F.cross_entropy(logits, torch.tensor(ids[predicted:stop]), reduction="sum").item()
        predicted, first = stop, stop - 1 - kept_of(CONTEXT)
    found = bits_per_byte(palm, tokenizer, text, None, CONTEXT) * math.log(2) * len(text.encode())
    assert found == pytest.approx(nats, rel=1e-4)


@pytest.mark.parametrize("context", [2, 3, 4, 5])
def test_the_smallest_windows_read_to_the_end(context, palm, tokenizer):
    text = text_of(tokenizer, 11)
    assert math.isfinite(bits_per_byte(palm, tokenizer, text, None, context))


def test_bytes_are_counted_not_characters(new_palm, tokenizer):
    even = new_palm(TOOLFORMER, size=TransformerConfig(32, 1, 2, len(tokenizer), dim_head=16))
    for weight in even.decoder.head.parameters():
        weight.data.zero_()
    text = "🦧"
    wanted = len(tokenizer.encode(text)) * math.log2(len(tokenizer)) / 4
    assert bits_per_byte(even, tokenizer, text, None, CONTEXT) == pytest.approx(wanted, rel=1e-5)


def test_a_scope_is_scored_as_that_scope(palm, tokenizer):
    text = text_of(tokenizer, 40)
    for weight in palm.add_scope("carroll", 2).parameters():
        weight.data.normal_(std=0.2)
    base, scoped = (bits_per_byte(palm, tokenizer, text, scope, CONTEXT) for scope in (None, "carroll"))
    assert abs(base - scoped) > 1e-3
    palm.merge_scope("carroll")
    assert_close(bits_per_byte(palm, tokenizer, text, None, CONTEXT), scoped, rtol=1e-4, atol=0)


def test_authors_are_told_by_how_likely_each_finds_the_text(palm, tokenizer):
    text, names = text_of(tokenizer, 40), ["carroll", "doyle", "poe"]
    for name in names:
        for weight in palm.add_scope(name, 2).parameters():
            weight.data.normal_(std=0.2)
    bits = {name: bits_per_byte(palm, tokenizer, text, name, CONTEXT) for name in names}
    found = author_probabilities(bits, text)
    likelihoods = [2 ** (-len(text.encode()) * of_scope) for of_scope in bits.values()]
    expected = [one / sum(likelihoods) for one in likelihoods]
    assert list(found) == names
    assert list(found.values()) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("length", LENGTHS)
def test_tokens_are_as_probable_as_the_text(length, palm, tokenizer):
    text = text_of(tokenizer, length)
    tokens = token_probabilities(palm, tokenizer, text, None, CONTEXT)
    assert [token.text for token in tokens] == [tokenizer.decode([i]) for i in tokenizer.encode(text)]
    bits = -sum(math.log2(token.probability) for token in tokens)
    wanted = bits_per_byte(palm, tokenizer, text, None, CONTEXT) * len(text.encode())
    assert bits == pytest.approx(wanted, rel=1e-4)


def test_alternatives_are_the_likeliest_and_in_order(palm, tokenizer):
    text = text_of(tokenizer, 9)
    ids = tokenizer.encode(text)
    chances = palm(torch.tensor([[tokenizer.bos_id, *ids[:-1]]]))[0].softmax(dim=-1)
    for token, of_token in zip(
        token_probabilities(palm, tokenizer, text, None, CONTEXT), chances, strict=True
    ):
        best, best_ids = of_token.topk(5)
        assert [chance for _, chance in token.alternatives] == pytest.approx(best.tolist(), rel=1e-4)
        assert [text for text, _ in token.alternatives] == [tokenizer.token_text(i) for i in best_ids]


def test_tokens_of_one_character_are_its_text_once(palm, tokenizer):
    tokens = token_probabilities(palm, tokenizer, "a 🦧!", None, CONTEXT)
    assert len(tokens) > 4 and "".join(token.text for token in tokens) == "a 🦧!"


def test_tokens_are_scored_in_a_scope(palm, tokenizer):
    own = palm.new_adapter(2)
    for weight in own.parameters():
        weight.data.normal_(std=0.2)
    base, scoped = (token_probabilities(palm, tokenizer, "a cat", scope, CONTEXT) for scope in (None, own))
    assert [t.probability for t in base] != [t.probability for t in scoped]


def test_an_unknown_scope_is_refused(palm, tokenizer):
    with pytest.raises(ScopeError, match="'verne'"):
        bits_per_byte(palm, tokenizer, "a cat", "verne", CONTEXT)


def test_scoring_builds_no_graph_and_leaves_gradients_on(palm, tokenizer, monkeypatch):
    seen, read = [], palm.read

    def watched(*arguments):
        seen.append(torch.is_grad_enabled())
        return read(*arguments)

    monkeypatch.setattr(palm, "read", watched)
    bits_per_byte(palm, tokenizer, "a cat", None, CONTEXT)
    assert seen == [False] and torch.is_grad_enabled()
