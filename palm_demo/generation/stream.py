"""Decoding in steps: prompts in, one id per row and step out."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from palm_demo.generation.sampling import Sampler
from palm_demo.turns import piece

Prefill = Callable[[Tensor, Sequence[int], int], tuple[Tensor, Any]]
"""(b, n) ids padded on the right, lengths, capacity -> logits (b, vocab), cache."""

Extend = Callable[[Tensor, Any], Tensor]
"""(b,) ids, cache -> logits (b, vocab); the cache moves on."""


class Row:
    """One text in the making: its prompt, what has been drawn, and whether it has ended.

    It ends with its first new `eos_id`, which is not given out (one in the prompt does not count),
    or with the last of `max_new_tokens`.
    """

    def __init__(self, prompt: Sequence[int], sampler: Sampler, max_new_tokens: int, eos_id: int):
        self.history = list(prompt)
        self.sampler, self.eos_id = sampler, eos_id
        self.remaining = max_new_tokens
        self.ended = max_new_tokens < 1

    @property
    def last(self) -> int:
        return self.history[-1]

    def draw(self, logits: Tensor) -> int | None:
        """(vocab,) logits -> the next id, or None where the text ends instead."""
        token_id = self.sampler(logits, self.history)
        if token_id == self.eos_id:
            self.ended = True
            return None
        self.history.append(token_id)
        self.remaining -= 1
        self.ended = self.remaining == 0
        return token_id


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
    """Rows that begin together: one list per step, each row's new id, or None once it has ended.

    All end as soon as `cancelled` is set.
    """
    lengths = [len(prompt) for prompt in prompts]
    rows = [
        Row(prompt, sampler, max_new_tokens, eos_id)
        for prompt, sampler in zip(prompts, samplers, strict=True)
    ]
    ids = torch.zeros(len(prompts), max(lengths), dtype=torch.long)
    for place, prompt in enumerate(prompts):
        ids[place, : len(prompt)] = torch.tensor(prompt)
    logits, cache = quietly(prefill, ids.to(device), lengths, max(lengths) + max_new_tokens)
    while cancelled is None or not cancelled.is_set():
        new = [None if row.ended else row.draw(logits[place]) for place, row in enumerate(rows)]
        if all(token_id is None for token_id in new):
            return
        yield new
        if all(row.ended for row in rows):
            return
        following = [eos_id if row.ended else row.last for row in rows]
        logits = quietly(extend, torch.tensor(following, device=device), cache)


def quietly(function: Callable, *arguments: Any) -> Any:
    """A pass of a model in its turn and in inference mode, and only for the call: a generator must not leave
    either to whoever it yields to."""
    with piece(), torch.inference_mode():
        return function(*arguments)
