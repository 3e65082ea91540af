"""Beam search: the likeliest texts, with their probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from palm_demo.inference.decoding import DecodeStep, Prefill, run_in_turn
from palm_demo.inference.sampling import check_finite


def beam_search(
    prefill: Prefill,
    decode_step: DecodeStep,
    prompt: Sequence[int],
    width: int,
    max_new_tokens: int,
    eos_id: int,
    banned: Sequence[int],
    device: torch.device,
    min_tokens: int = 0,
) -> list[tuple[list[int], float]]:
    """Up to `width` complete texts, likeliest first: their ids without `eos_id`, and log-probabilities.

    A text's probability includes its end, so the probabilities of all possible texts sum to 1. It is
    not divided by the length. A text that has not ended after `max_new_tokens` counts as ended there.

    Args:
        prefill: makes a cache that has `reorder(rows)`.
        decode_step: one step of the model.
        prompt: ids.
        width: the number of beams.
        max_new_tokens: the most tokens of a text.
        eos_id: ends a text.
        banned: ids that are never generated.
        device: where the model computes.
        min_tokens: tokens of prompt and text together before a text may end.

    Raises NotFiniteError where logits are not finite.
    """
    read, room = torch.tensor([prompt], device=device), len(prompt) + max_new_tokens
    logits, cache = run_in_turn(prefill, read, [len(prompt)], room)
    texts: list[list[int]] = [[]]
    scores = torch.zeros(1)
    ended: list[tuple[list[int], float]] = []
    for step in range(max_new_tokens):
        too_short = len(prompt) + step < min_tokens
        following = _log_probabilities(logits, [*banned, eos_id] if too_short else banned)
        if not too_short:
            ended += [
                (text, float(score)) for text, score in zip(texts, scores + following[:, eos_id], strict=True)
            ]
        following[:, eos_id] = -torch.inf
        scores, parents, ids = _best(scores[:, None] + following, width)
        texts = [[*texts[parent], token] for parent, token in zip(parents, ids, strict=True)]
        ended = sorted(ended, key=lambda text: -text[1])[:width]
        if step == max_new_tokens - 1:
            ended += zip(texts, scores.tolist(), strict=True)
        elif len(ended) == width and ended[-1][1] >= float(scores[0]):
            break  # no longer text can become likelier
        else:
            cache.reorder(parents)
            logits = run_in_turn(decode_step, torch.tensor(ids, device=device), cache)
    return sorted(ended, key=lambda text: -text[1])[:width]


def _log_probabilities(logits: Tensor, banned: Sequence[int]) -> Tensor:
    """Log-probabilities (b, vocab) in fp32 on the CPU. Raises NotFiniteError."""
    logits = logits.detach().to("cpu", torch.float32, copy=True)
    check_finite(logits)
    logits[:, list(banned)] = -torch.inf
    return logits.log_softmax(dim=-1)


def _best(scores: Tensor, width: int) -> tuple[Tensor, list[int], list[int]]:
    """The best of (b, vocab) scores, with the row that each comes from and its id."""
    possible = int(torch.isfinite(scores).sum())
    best, places = scores.flatten().topk(min(width, possible))
    return best, (places // scores.shape[1]).tolist(), (places % scores.shape[1]).tolist()
