"""Decoding in steps: a batch of prompts in, one id per row and step out."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from palm_demo.generation.sampling import Sampler

Prefill = Callable[[Tensor, Sequence[int], int], tuple[Tensor, Any]]
"""(b, n) ids padded on the right, lengths, capacity -> logits (b, vocab), cache."""

Extend = Callable[[Tensor, Any], Tensor]
"""(b,) ids, cache -> logits (b, vocab); the cache moves on."""


def stream_ids(
    prefill: Prefill,
    extend: Extend,
    prompts: Sequence[Sequence[int]],
    samplers: Sequence[Sampler],
    max_new_tokens: int,
    eos_id: int,
    device: torch.device,
    cancelled: threading.Event | None = None,
) -> Iterator[list[int | None]]:
    """One list per step: each row's new id, or None once the row has ended.

    A row ends after its first new `eos_id`, which is not given out; an eos in its prompt does not
    count. All end after `max_new_tokens`, or as soon as `cancelled` is set.
    """
    lengths = [len(prompt) for prompt in prompts]
    ids = torch.zeros(len(prompts), max(lengths), dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt)
    history = [list(prompt) for prompt in prompts]
    live = [True] * len(prompts)
    logits, cache = _quietly(prefill, ids.to(device), lengths, max(lengths) + max_new_tokens)
    for step in range(max_new_tokens):
        if cancelled is not None and cancelled.is_set():
            return
        new: list[int | None] = []
        for row, sampler in enumerate(samplers):
            token_id = sampler(logits[row], history[row]) if live[row] else None
            live[row] = live[row] and token_id != eos_id
            new.append(token_id if live[row] else None)
            if live[row]:
                history[row].append(token_id)
        if not any(live):
            return
        yield new
        if step + 1 < max_new_tokens:
            following = torch.tensor([eos_id if i is None else i for i in new], device=device)
            logits = _quietly(extend, following, cache)


def _quietly(function: Callable, *arguments: Any) -> Any:
    """Without gradients, and only for the call: a generator must not leave the mode switched on
    for whoever it yields to."""
    with torch.no_grad():
        return function(*arguments)
