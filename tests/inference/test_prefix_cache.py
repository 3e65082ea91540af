"""Beginnings that were read before: they change nothing, stay within their bound, and are nobody else's."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
from torch.testing import assert_close

from palm_demo.inference.continuous_batch import ContinuousBatch
from palm_demo.inference.decoding import SequenceState
from palm_demo.inference.prefix_cache import BLOCK, Beginning, PrefixCache, scope_key
from palm_demo.inference.requests import InPieces
from palm_demo.inference.sampling import Sampler
from palm_demo.inference.settings import BatchLimits, SamplingParams
from tests.clients import as_client

ROOM = 5 * BLOCK


class Watched:
    """A batch of one model, and how many tokens of prompts each step has read."""

    def __init__(self, palm, rows: int = 4, max_bytes: int = 10_000_000):
        self.palm, self.read = palm, []
        limits = BatchLimits(rows, waiting=20, prefix_bytes=max_bytes)
        self.batch = ContinuousBatch(palm.new_cache, palm.decode_step, ROOM, limits, self.step_beside)

    def step_beside(self, ids, cache, pieces):
        self.read.append(sum(len(piece) for piece, _ in pieces))
        return self.palm.step_beside(ids, cache, pieces)

    def write(self, prompt: list[int], scope=None, new: int = 6, seed: int | None = None) -> list[int]:
        drawn = SamplingParams() if seed is None else SamplingParams(temperature=1.0, seed=seed)
        row = SequenceState(prompt, Sampler(drawn, []), new, -1)
        read = InPieces(
            partial(self.palm.begin, scopes=[scope]), lambda: Beginning(scope_key(self.palm, scope), prompt)
        )
        with self.batch.join(row, read) as request:
            return list(request.ids())

    def tokens_read(self) -> int:
        """Since it was asked last."""
        read, self.read = sum(self.read), []
        return read


@pytest.fixture
def watched(new_palm):
    return Watched(new_palm())


def loud(palm, name: str):
    """A scope that changes what is written."""
    adapter = palm.add_scope(name, 2)
    for weight in adapter.parameters():
        weight.data.normal_(std=0.4)
    return adapter


def a_prompt(new_ids, tokens: int) -> list[int]:
    return new_ids(tokens).tolist()


def whole(watched, prompt: list[int], scope=None, new: int = 6) -> list[int]:
    """Greedy, with neither a cache of beginnings nor pieces."""
    logits, cache = watched.palm.prefill(torch.tensor([prompt]), [len(prompt)], ROOM, [scope])
    written = [int(logits[0].argmax())]
    while len(written) < new:
        written.append(int(watched.palm.decode_step(torch.tensor(written[-1:]), cache)[0].argmax()))
    return written


@pytest.mark.parametrize("tokens", [1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK + 7])
def test_a_text_is_the_same_with_its_beginning_kept(tokens, watched, new_ids):
    prompt = a_prompt(new_ids, tokens)
    expected = whole(watched, prompt)
    assert watched.write(prompt) == expected
    assert watched.tokens_read() == tokens
    assert watched.write(prompt) == expected
    assert watched.tokens_read() == tokens - (tokens - 1) // BLOCK * BLOCK


@torch.no_grad()
def test_keys_values_and_logits_are_exactly_those_without_the_cache(new_palm, new_ids):
    palm, ids = new_palm(), new_ids(3 * BLOCK + 5)
    pieces = ids.split(BLOCK)
    fresh = palm.begin(ids[None], len(ids))
    logits = [palm.step_beside(ids[:0], None, [(piece, fresh)]) for piece in pieces]
    kept = PrefixCache(10_000_000)
    kept.keep(Beginning("root", ids.tolist()), fresh.tokens)
    again = palm.begin(ids[None], len(ids))
    assert kept.begin(Beginning("root", ids.tolist()), again.tokens) == 3 * BLOCK
    assert torch.equal(palm.step_beside(ids[:0], None, [(pieces[-1], again)]), logits[-1])
    assert torch.equal(again.tokens.keys, fresh.tokens.keys)
    assert torch.equal(again.tokens.values, fresh.tokens.values)


def test_texts_that_begin_alike_share_what_is_alike(watched, new_ids):
    shared, one, other = a_prompt(new_ids, 2 * BLOCK), a_prompt(new_ids, 9), a_prompt(new_ids, 70)
    watched.write([*shared, *one])
    watched.tokens_read()
    assert watched.write([*shared, *other]) == whole(watched, [*shared, *other])
    assert watched.tokens_read() == len(other)


def test_scopes_share_no_beginning(watched, new_ids):
    prompt = a_prompt(new_ids, BLOCK + 3)
    loud(watched.palm, "carroll")
    own = watched.palm.new_adapter(2)
    for weight in own.parameters():
        weight.data.normal_(std=0.4)
    for scope in (None, "carroll", own, {"carroll": 0.5}, {"carroll": 0.5, own: 1.0}):
        assert watched.write(prompt, scope) == whole(watched, prompt, scope)
        assert watched.tokens_read() == len(prompt)
        watched.write(prompt, scope)
        assert watched.tokens_read() == 3


def test_an_adapter_that_a_mix_has_twice_counts_with_both_strengths(watched, new_ids):
    prompt, own = a_prompt(new_ids, BLOCK + 3), loud(watched.palm, "carroll")
    for scope in ({own: -2.0}, {"carroll": 2.0, own: -2.0}, {"carroll": 1.0, own: -3.0}):
        assert watched.write(prompt, scope) == whole(watched, prompt, scope)


def test_what_was_read_while_weights_changed_is_not_kept(watched, new_ids, monkeypatch):
    prompt = a_prompt(new_ids, BLOCK + 3)
    loud(watched.palm, "carroll")
    begin = watched.palm.begin

    def merging(*given, **settings):
        made = begin(*given, **settings)
        watched.palm.merge_scope("carroll")
        return made

    monkeypatch.setattr(watched.palm, "begin", merging)
    watched.write(prompt)
    monkeypatch.setattr(watched.palm, "begin", begin)
    watched.tokens_read()
    assert watched.write(prompt) == whole(watched, prompt)
    assert watched.tokens_read() == len(prompt)


def test_a_scope_that_has_changed_is_another(watched, new_ids):
    prompt, adapter = a_prompt(new_ids, BLOCK + 3), loud(watched.palm, "carroll")
    watched.write(prompt, "carroll")
    with torch.no_grad():
        for weight in adapter.parameters():
            weight.mul_(-1)
    watched.tokens_read()
    assert watched.write(prompt, "carroll") == whole(watched, prompt, "carroll")
    assert watched.tokens_read() == len(prompt)
    watched.palm.remove_scope("carroll")
    loud(watched.palm, "carroll")
    assert watched.write(prompt, "carroll") == whole(watched, prompt, "carroll")


def test_what_is_merged_into_the_weights_is_another_model(watched, new_ids):
    prompt = a_prompt(new_ids, BLOCK + 3)
    loud(watched.palm, "carroll")
    before = watched.write(prompt)
    watched.palm.merge_scope("carroll")
    assert watched.write(prompt) == whole(watched, prompt) != before
    watched.palm.unmerge_scope("carroll")
    assert watched.write(prompt) == before


def test_nobody_can_tell_what_others_have_asked(watched, new_ids):
    prompt = a_prompt(new_ids, 2 * BLOCK + 1)
    for visitor in ("one", "other", None):
        with as_client(visitor):
            watched.write(prompt)
        assert watched.tokens_read() == len(prompt)
    with as_client("one"):
        watched.write(prompt)
    assert watched.tokens_read() == 1


def test_what_is_kept_stays_within_its_bound(new_palm, new_ids):
    block_bytes = 2 * 2 * BLOCK * 16 * 4  # keys and values, layers, tokens, width, bytes of a number
    watched = Watched(new_palm(), max_bytes=3 * block_bytes)
    first = a_prompt(new_ids, 2 * BLOCK + 1)
    watched.write(first)
    for _ in range(4):
        prompt = a_prompt(new_ids, 2 * BLOCK + 1)
        assert watched.write(prompt) == whole(watched, prompt)
        assert watched.batch.prefixes.blocks.size_bytes <= 3 * block_bytes
    watched.tokens_read()
    assert watched.write(first) == whole(watched, first)
    assert watched.tokens_read() == len(first)


def test_with_no_room_nothing_is_kept(new_palm, new_ids):
    watched, prompt = Watched(new_palm(), max_bytes=0), a_prompt(new_ids, BLOCK + 1)
    assert watched.write(prompt) == watched.write(prompt) == whole(watched, prompt)
    assert len(watched.batch.prefixes.blocks) == 0


# pieces


def test_prompts_are_read_beside_running_texts_a_piece_a_step(new_palm, new_ids):
    """Each step of the running text has a piece of the long prompt beside it, and nothing is read between."""
    watched = Watched(new_palm())
    running, long = a_prompt(new_ids, 5), a_prompt(new_ids, 3 * BLOCK + 9)
    steps = []
    step_beside = watched.step_beside

    def seen(ids, cache, pieces):
        steps.append((len(ids), [len(piece) for piece, _ in pieces]))
        return step_beside(ids, cache, pieces)

    watched.batch.step_beside = seen
    row = SequenceState(running, Sampler(SamplingParams(), []), 60, -1)
    read = InPieces(watched.palm.begin, lambda: Beginning(None, running))
    with watched.batch.join(row, read) as request:
        ids = request.ids()
        written = [next(ids)]
        assert watched.write(long) == whole(watched, long)
        written += ids
    assert written == whole(watched, running, new=60)
    assert steps == [(0, [5]), (1, [BLOCK]), (1, [BLOCK]), (1, [BLOCK]), (1, [9])]


def test_many_prompts_at_once_are_each_read_as_alone(new_palm, new_ids):
    watched = Watched(new_palm(), rows=3)
    loud(watched.palm, "carroll")
    prompts = [a_prompt(new_ids, tokens) for tokens in (3, BLOCK, 150, 1, 90, 2 * BLOCK, 17, 200)]
    scopes = [None, "carroll", None, "carroll", "carroll", None, None, "carroll"]
    alone = [watched.write(prompt, scope, seed=7) for prompt, scope in zip(prompts, scopes, strict=True)]
    watched.batch.prefixes.blocks.clear()
    with ThreadPoolExecutor(len(prompts)) as visitors:
        together = list(visitors.map(partial(watched.write, seed=7), prompts, scopes))
    assert together == alone
    watched.batch.close()
    assert watched.batch.free == 3


@torch.no_grad()
def test_pieces_beside_rows_have_the_logits_of_each_alone(new_flamingo, new_ids):
    """Of a model that looks at pictures, with a different number of them in each text."""
    flamingo = new_flamingo()
    texts = {"running": new_ids(1, 9), "two": new_ids(1, 7), "none": new_ids(1, 4)}
    marks = {"running": (1,), "two": (0, 3), "none": ()}
    full, latents = {}, {}
    for name, ids in texts.items():
        ids[0, list(marks[name])] = flamingo.media_token_id
        media = [torch.randn(3, 8, 8) for _ in marks[name]]
        latents[name] = flamingo.embed_media(media, ids) if media else None
        full[name] = flamingo.logits(ids, latents[name])[0]
    cache = flamingo.new_cache(2, 16)
    cache.put(flamingo.prefill(texts["running"][:, :6], [6], 6, latents["running"])[1])
    begun = {
        name: flamingo.begin(texts[name], texts[name].shape[1], latents[name]) for name in ("two", "none")
    }
    for step, (start, stop) in enumerate(((0, 2), (2, 4), (4, 7))):
        pieces = [
            (texts[name][0, start:stop], own) for name, own in begun.items() if start < texts[name].shape[1]
        ]
        logits = flamingo.step_beside(texts["running"][0, 6 + step : 7 + step], cache, pieces)
        wanted = [full["running"][6 + step], full["two"][stop - 1]]
        if len(pieces) == 2:
            wanted.append(full["none"][stop - 1])
        assert_close(logits, torch.stack(wanted), atol=1e-4, rtol=1e-4)


def test_a_prompt_that_cannot_begin_ends_alone(watched, new_ids):
    def broken(ids, capacity):
        raise ValueError("a broken picture")

    row = SequenceState([5], Sampler(SamplingParams(), []), 4, -1)
    broken = watched.batch.join(row, InPieces(broken, lambda: Beginning(None, [5])))
    with pytest.raises(ValueError, match="a broken picture"), broken as request:
        list(request.ids())
    prompt = a_prompt(new_ids, 5)
    assert watched.write(prompt) == whole(watched, prompt)
    watched.batch.close()
    assert watched.batch.free == 4
