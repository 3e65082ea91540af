"""The cache of one request: the same logits as a full pass, whatever the order of work."""

import pytest
import torch
from torch.testing import assert_close

from palm_demo.errors import CapacityError
from palm_demo.models.kv_cache import KVCache
from palm_demo.models.layers import RLHF, STYLES
from palm_demo.models.transformer import TransformerConfig

every_style = pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
close = {"atol": 1e-4, "rtol": 1e-4}


@every_style
def test_cached_logits_match_full_forward(style, new_palm, new_ids):
    palm, ids = new_palm(style), new_ids(2, 12)
    full = palm(ids)
    logits, cache = palm.prefill(ids[:, :5], [5, 5], capacity=12)
    assert_close(logits, full[:, 4], **close)
    for n in range(5, 12):
        assert_close(palm.decode_step(ids[:, n], cache), full[:, n], **close)


def test_cached_logits_match_full_forward_far_from_the_start(new_palm, new_ids):
    palm, ids = new_palm(RLHF), new_ids(1, 700)
    full = palm(ids)
    _, cache = palm.prefill(ids[:, :690], [690], capacity=700)
    for n in range(690, 700):
        assert_close(palm.decode_step(ids[:, n], cache), full[:, n], **close)


@every_style
def test_a_ragged_batch_gives_what_each_row_gives_alone(style, new_palm, new_ids):
    palm, ids, following = new_palm(style), new_ids(3, 7), new_ids(3, 5)
    lengths = [3, 7, 5]
    logits, cache = palm.prefill(ids, lengths, capacity=12)
    together = torch.stack([logits, *(palm.decode_step(following[:, n], cache) for n in range(5))], dim=1)
    for row, length in enumerate(lengths):
        whole = torch.cat((ids[row, :length], following[row]))[None]
        assert_close(together[row], palm(whole)[0, length - 1 :], **close)


def test_what_stands_in_the_padding_does_not_matter(new_palm, new_ids):
    palm, ids = new_palm(), new_ids(2, 7)
    other = ids.clone()
    other[0, 3:] = new_ids(4)
    runs = []
    for padded in (ids, other):
        logits, cache = palm.prefill(padded, [3, 7], capacity=10)
        runs.append(torch.stack([logits, *(palm.decode_step(ids[:, n], cache) for n in range(3))]))
    assert_close(runs[0], runs[1])


@every_style
@torch.no_grad()
@pytest.mark.parametrize("chunks", [(4, 3, 5), (1, 11), (12,)], ids=str)
def test_a_cache_takes_tokens_in_chunks_of_any_size(style, chunks, new_palm, new_ids):
    palm, ids = new_palm(style), new_ids(2, 12)
    cache = KVCache(2, 2, 12, 16, palm.decoder.embedding.weight)
    logits = []
    for chunk in ids.split(chunks, dim=1):
        states = palm.decoder(palm.decoder.embedding(chunk), cache.extend_by(chunk.shape[1]))
        cache.advance([chunk.shape[1]] * 2)
        logits.append(palm.decoder.logits(states))
    assert_close(torch.cat(logits, dim=1), palm(ids), **close)


@torch.no_grad()
def test_ragged_rows_take_chunks_at_their_own_places(new_palm, new_ids):
    palm, ids, chunk = new_palm(), new_ids(2, 6), new_ids(2, 3)
    _, cache = palm.prefill(ids, [2, 6], capacity=9)
    states = palm.decoder(palm.decoder.embedding(chunk), cache.tokens.extend_by(3))
    for row, length in enumerate((2, 6)):
        whole = torch.cat((ids[row, :length], chunk[row]))[None]
        assert_close(palm.decoder.logits(states[row]), palm(whole)[0, length:], **close)


def test_requests_taken_in_turns_do_not_disturb_each_other(new_palm, new_ids):
    palm, ids = new_palm(), new_ids(2, 8)
    full = palm(ids)
    caches = [palm.prefill(ids[row : row + 1, :4], [4], capacity=8)[1] for row in range(2)]
    for n in range(4, 8):
        for row, cache in enumerate(caches):
            assert_close(palm.decode_step(ids[row, n : n + 1], cache)[0], full[row, n], **close)


def test_a_cache_holds_as_many_tokens_as_it_was_made_for_and_no_more(new_palm, new_ids):
    palm, ids = new_palm(), new_ids(1, 6)
    _, cache = palm.prefill(ids[:, :5], [5], capacity=6)
    palm.decode_step(ids[:, 5], cache)
    with pytest.raises(CapacityError, match=r"holds 7 tokens .* made for 6"):
        palm.decode_step(ids[:, 5], cache)
    with pytest.raises(CapacityError, match=r"holds 6 tokens .* made for 5"):
        palm.prefill(ids, [6], capacity=5)


def test_the_longest_row_of_a_batch_decides_what_fits(new_palm, new_ids):
    palm, ids = new_palm(), new_ids(2, 6)
    _, cache = palm.prefill(ids, [2, 6], capacity=7)
    palm.decode_step(ids[:, 0], cache)
    with pytest.raises(CapacityError, match="holds 8 tokens"):
        palm.decode_step(ids[:, 0], cache)


def test_a_cache_holds_one_head_of_keys_and_values(new_palm, new_ids):
    palm = new_palm(size=TransformerConfig(dim=32, depth=3, heads=4, vocab=48, dim_head=16))
    _, cache = palm.prefill(new_ids(2, 4), [4, 4], capacity=10)
    keys_and_values, bytes_per_number = 2, 4
    assert cache.tokens.size_bytes == keys_and_values * bytes_per_number * 3 * 2 * 10 * 16


def test_a_bfloat16_model_has_a_bfloat16_cache_and_fp32_logits(new_palm, new_ids):
    palm, ids = new_palm().to(torch.bfloat16), new_ids(2, 8)
    full = palm(ids)
    logits, cache = palm.prefill(ids[:, :6], [6, 4], capacity=8)
    assert cache.tokens.keys.dtype == torch.bfloat16
    assert logits.dtype == full.dtype == torch.float32
    assert_close(logits[0], full[0, 5], atol=0.3, rtol=0.1)
    assert_close(
        palm.decode_step(torch.stack((ids[0, 6], ids[1, 4])), cache)[1], full[1, 4], atol=0.3, rtol=0.1
    )


# rows that are given back


def filled_with(cache, number: float) -> None:
    """All that rows in use have taken in."""
    for row, length in enumerate(cache.lengths):
        cache.keys[:, row, :, :length] = number
        cache.values[:, row, :, :length] = number


def unused(cache) -> torch.Tensor:
    """What no row in use has taken in."""
    kept = torch.zeros(cache.keys.shape[1], cache.capacity, dtype=torch.bool)
    for row, length in enumerate(cache.lengths):
        kept[row, :length] = True
    return torch.cat([store[:, :, 0][:, ~kept] for store in (cache.keys, cache.values)])


@pytest.mark.parametrize("leaving", [0, 1, 2])
@pytest.mark.parametrize("number", [float("inf"), float("nan"), 1e30], ids=str)
def test_a_row_that_is_given_back_leaves_nothing(leaving, number, new_palm, new_ids):
    palm, ids = new_palm(), new_ids(3, 6)
    cache = palm.new_cache(4, 12)
    for row, length in enumerate((3, 6, 4)):
        cache.put(palm.prefill(ids[row : row + 1, :length], [length], length)[1])
    filled_with(cache.tokens, number)
    cache.drop(leaving)
    assert not unused(cache.tokens).any()
    cache.drop(0)
    cache.drop(0)
    assert not cache.tokens.keys.any() and not cache.tokens.values.any()


def test_a_step_that_failed_leaves_nothing_either(new_palm, new_ids):
    palm, ids = new_palm(), new_ids(2, 6)
    cache = palm.new_cache(4, 12)
    for row, length in enumerate((3, 6)):
        cache.put(palm.prefill(ids[row : row + 1, :length], [length], length)[1])
    half_done = cache.tokens.extend_by(1)
    half_done.update(0, torch.full((2, 1, 1, 16), torch.inf), torch.full((2, 1, 1, 16), torch.nan))
    cache.drop(1)
    cache.drop(0)
    assert not cache.tokens.keys.any() and not cache.tokens.values.any()


def test_clearing_leaves_nothing(new_palm, new_ids):
    _, cache = new_palm().prefill(new_ids(2, 4), [4, 2], 8)
    filled_with(cache.tokens, torch.inf)
    cache.tokens.clear()
    assert not cache.tokens.keys.any() and not cache.tokens.values.any()


@pytest.mark.parametrize("number", [float("inf"), float("nan")], ids=str)
def test_whoever_gets_a_row_next_and_its_neighbours_do_not_see_who_had_it(number, new_palm, new_ids):
    palm, ids = new_palm(), new_ids(3, 10)
    full = palm(ids)
    cache = palm.new_cache(3, 12)

    def join(row: int, length: int) -> None:
        cache.put(palm.prefill(ids[row : row + 1, :length], [length], length)[1])

    join(0, 3)
    join(1, 8)
    cache.tokens.keys[:, 1, :, :8] = number
    cache.tokens.values[:, 1, :, :8] = number
    cache.drop(1)
    join(2, 4)
    logits = palm.decode_step(torch.stack((ids[0, 3], ids[2, 4])), cache)
    assert_close(logits, torch.stack((full[0, 3], full[2, 4])), **close)
    join(1, 8)
    logits = palm.decode_step(torch.stack((ids[0, 4], ids[2, 5], ids[1, 8])), cache)
    assert_close(logits, torch.stack((full[0, 4], full[2, 5], full[1, 8])), **close)


@pytest.mark.parametrize("number", [float("inf"), float("nan")], ids=str)
def test_media_of_a_row_that_is_given_back_leave_nothing(number, new_flamingo, new_ids):
    flamingo, ids = new_flamingo(), new_ids(3, 8)
    marks = {0: (), 1: (0, 1, 3), 2: (1,)}
    cache, full = flamingo.new_cache(3, 12), {}

    def join(row: int) -> None:
        media = [torch.randn(1, 3, 8, 8) for _ in marks[row]]
        made = flamingo.embed_media(media, ids[row : row + 1]) if media else None
        full[row] = flamingo.logits(ids[row : row + 1], made)[0]
        cache.put(flamingo.prefill(ids[row : row + 1, :5], [5], 5, made)[1])

    for row, places in marks.items():
        ids[row, list(places)] = flamingo.media_token_id
    join(0)
    join(1)
    for store in (cache.media.keys, cache.media.values, cache.tokens.keys, cache.tokens.values):
        store[:, 1] = number
    cache.drop(1)
    join(2)
    logits = flamingo.decode_step(torch.stack((ids[0, 5], ids[2, 5])), cache)
    assert_close(logits, torch.stack((full[0][5], full[2][5])), **close)
