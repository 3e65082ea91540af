"""The continuous batch: texts that are written together are those that are written alone."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
from torch.testing import assert_close

from palm_demo.inference.continuous_batch import ContinuousBatch
from palm_demo.inference.settings import BatchLimits
from tests.inference.counted import row
from tests.scopes import learn


def scoped(palm):
    learn(palm, "carroll", rank=2, std=0.3)
    learn(palm, "doyle", rank=3, std=0.3)
    return palm


OWN = "a visitor's own"


def scope_of(palm, index: int):
    """The scope of a request: a name, the base, or an adapter that has no name in the model."""
    scope = REQUESTS[index][1]
    if scope != OWN:
        return scope
    random = torch.Generator().manual_seed(index)
    own = palm.new_adapter(4, random)
    for weight in own.parameters():
        weight.data.normal_(std=0.1, generator=random)
    return own


REQUESTS = [
    ([5, 9, 7], "carroll", 7),
    ([6], None, 12),
    ([6, 8, 4, 30, 31, 40, 41, 9], "doyle", 3),
    ([33, 12], "carroll", 1),
    ([5, 9, 7], None, 9),
    ([11] * 12, "doyle", 11),
    ([20, 21, 22], None, 5),
    ([6], OWN, 12),
    ([11] * 12, OWN, 9),
]
"""Prompt, scope, new ids."""


def written(batch: ContinuousBatch, palm, index: int) -> list[int]:
    prompt, _, new = REQUESTS[index]
    prefill = partial(palm.prefill, scopes=[scope_of(palm, index)])
    with batch.join(row(prompt, new, seed=index), prefill) as request:
        return list(request.ids())


def palm_batch(palm, rows: int, extend=None) -> ContinuousBatch:
    limits = BatchLimits(rows, waiting=len(REQUESTS))
    return ContinuousBatch(palm.new_cache, extend or palm.decode_step, 32, limits)


@pytest.mark.parametrize("rows", [1, 3, 16])
def test_texts_written_together_are_those_written_alone(rows, new_palm):
    palm = scoped(new_palm())
    alone = [written(palm_batch(palm, 1), palm, index) for index in range(len(REQUESTS))]
    assert len({tuple(text) for text in alone}) == len(alone)
    batch = palm_batch(palm, rows)
    with ThreadPoolExecutor(len(REQUESTS)) as visitors:
        together = list(visitors.map(partial(written, batch, palm), range(len(REQUESTS))))
    assert together == alone
    batch.close()
    assert batch.free == rows


def watched(palm, joins: dict[int, int], fed: dict[int, list[int]]) -> dict[int, torch.Tensor]:
    """The logits of each request that joins before a step and is fed these ids, in one cache."""
    cache, live, logits, step = palm.new_cache(4, 32), [], {}, 0
    fed = {index: list(ids) for index, ids in fed.items()}
    while live or step <= max(joins.values()):
        for index in [index for index, at in joins.items() if at == step]:
            prompt, scope = REQUESTS[index][0], scope_of(palm, index)
            first, made = palm.prefill(torch.tensor([prompt]), [len(prompt)], len(prompt), scopes=[scope])
            cache.put(made)
            live.append(index)
            logits[index] = [first[0]]
        for place in reversed(range(len(live))):
            if not fed[live[place]]:
                cache.drop(place)
                live[place] = live[-1]
                live.pop()
        if live:
            ids = torch.tensor([fed[index].pop(0) for index in live])
            for index, of_row in zip(live, palm.decode_step(ids, cache), strict=True):
                logits[index].append(of_row)
        step += 1
    return {index: torch.stack(rows) for index, rows in logits.items()}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)], ids=str)
@torch.no_grad()
def test_logits_of_every_step_are_those_of_the_full_forward(dtype, tolerance, new_palm, new_ids):
    palm = scoped(new_palm())
    for weight in palm.parameters():
        weight.mul_(0.3)  # logits of the size that trained ones have
    palm = palm.to(dtype)
    joins = {0: 0, 1: 0, 2: 1, 3: 3, 7: 6, 5: 6, 8: 12}
    fed = {index: new_ids(REQUESTS[index][2]).tolist() for index in joins}
    for index, logits in watched(palm, joins, fed).items():
        prompt, scope = REQUESTS[index][0], scope_of(palm, index)
        full = palm(torch.tensor([[*prompt, *fed[index]]]), scopes=[scope])[0, len(prompt) - 1 :]
        assert_close(logits, full, atol=tolerance, rtol=0)


@torch.no_grad()
def test_rows_with_different_media_decode_as_each_alone(new_flamingo, new_ids):
    flamingo = new_flamingo()
    texts = {name: new_ids(1, 12) for name in ("two", "none", "video", "three")}
    marks = {"two": (1, 4), "none": (), "video": (2,), "three": (0, 1, 3)}
    frames = {"two": (1, 1), "none": (), "video": (3,), "three": (1, 2, 1)}
    cache, live, seen = flamingo.new_cache(3, 16), [], {}
    full, latents = {}, {}
    for name, ids in texts.items():
        ids[0, list(marks[name])] = flamingo.media_token_id
        shown = [torch.randn(count, 3, 8, 8) for count in frames[name]]
        latents[name] = flamingo.embed_media(shown, ids) if shown else None
        full[name] = flamingo.logits(ids, latents[name])[0]
        seen[name] = 6

    def join(name: str) -> None:
        logits, made = flamingo.prefill(texts[name][:, :6], [6], 6, latents[name])
        assert_close(logits[0], full[name][5], atol=1e-4, rtol=1e-4)
        cache.put(made)
        live.append(name)

    def step() -> None:
        ids = torch.stack([texts[name][0, seen[name]] for name in live])
        for name, logits in zip(live, flamingo.decode_step(ids, cache), strict=True):
            assert_close(logits, full[name][seen[name]], atol=1e-4, rtol=1e-4)
            seen[name] += 1

    def leave(name: str) -> None:
        place = live.index(name)
        cache.drop(place)
        live[place] = live[-1]
        live.pop()

    join("none")
    step()
    join("two")
    step()
    join("three")
    step()
    leave("none")
    step()
    join("video")
    step()
    leave("three")
    step()
    leave("two")
    step()
    assert seen == {"none": 9, "two": 11, "three": 9, "video": 9}


@torch.no_grad()
def test_rows_with_different_pictures_are_captioned_as_each_alone(new_mammut, new_ids):
    mammut, ids = new_mammut(), new_ids(3, 8)
    memory = mammut.encode_images(torch.randn(3, 3, 8, 8)).memory
    full = mammut.logits(ids, memory)
    cache = mammut.new_cache(3, 8)
    for place in range(3):
        _, made = mammut.prefill(ids[place : place + 1, :2], [2], 2, memory[place : place + 1])
        cache.put(made)
    assert_close(mammut.decode_step(ids[:, 2], cache), full[:, 2], atol=1e-4, rtol=1e-4)
    cache.drop(0)
    assert_close(mammut.decode_step(ids[[2, 1], 3], cache), full[[2, 1], 3], atol=1e-4, rtol=1e-4)


def test_many_visitors_who_come_stay_and_go_at_will_leave_every_row_free(new_palm):
    palm = scoped(new_palm())
    alone = [written(palm_batch(palm, 1), palm, index) for index in range(len(REQUESTS))]
    batch = ContinuousBatch(palm.new_cache, palm.decode_step, 32, BatchLimits(rows=3, waiting=100))

    def visit(number: int) -> bool:
        index = number % len(REQUESTS)
        prompt, scope, new = REQUESTS[index][0], scope_of(palm, index), REQUESTS[index][2]
        wanted = number % 5  # of the ids; 0: all
        with batch.join(row(prompt, new, seed=index), partial(palm.prefill, scopes=[scope])) as request:
            read = []
            for token_id in request.ids():
                read.append(token_id)
                if len(read) == wanted:
                    break
        return read == (alone[index][:wanted] if wanted else alone[index])

    with ThreadPoolExecutor(12) as visitors:
        assert all(visitors.map(visit, range(60)))
    batch.close()
    assert batch.free == 3


def test_the_model_runs_without_gradients(new_palm):
    palm, seen = new_palm(), []

    def decode_step(ids, cache):
        seen.append(torch.is_grad_enabled())
        return palm.decode_step(ids, cache)

    with palm_batch(palm, 1, decode_step).join(row([5], new=3, eos=-1), palm.prefill) as request:
        assert len(list(request.ids())) == 3
    assert seen == [False, False]
    assert torch.is_grad_enabled()
