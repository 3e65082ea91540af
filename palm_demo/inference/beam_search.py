"""Beam search: the likeliest texts with their probabilities, and the greedy one in the same batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from palm_demo.inference.decoding import DecodeStep, Prefill, run_in_turn
from palm_demo.inference.sampling import check_finite


@dataclass(frozen=True)
class Found:
    """What a beam search found.

    Attributes:
        texts: ids without `eos_id`, and log-probabilities, likeliest first.
        greedy: ids of the text that takes the likeliest id each time, whether or not it is in `texts`.
    """

    texts: list[tuple[list[int], float]]
    greedy: list[int]


@dataclass
class _Greedy:
    """The greedy text while it is written. `row`: of the batch, in which its next id's logits stand."""

    ids: list[int] = field(default_factory=list)
    row: int = 0
    over: bool = False

    def take(self, logits: Tensor, eos_id: int) -> None:
        """Takes the likeliest id, from (b, vocab) logits."""
        if not self.over:
            token = int(logits[self.row].argmax())
            self.over = token == eos_id
            self.ids += [] if self.over else [token]


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
) -> Found:
    """Finds up to `width` complete texts, and the greedy one.

    A text's probability includes its end, so the probabilities of all possible texts sum to 1. It is
    not divided by the length. A text that has not ended after `max_new_tokens` counts as ended there. The
    greedy text has a row of its own only while it is no beam.

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
    greedy = _Greedy()
    for step in range(max_new_tokens):
        too_short = len(prompt) + step < min_tokens
        allowed = _without(logits, [*banned, eos_id] if too_short else banned)
        greedy.take(allowed, eos_id)
        parents: list[int] = []
        ids: list[int] = []
        if texts:
            following = allowed[: len(texts)].log_softmax(dim=-1)
            if not too_short:
                ends = scores + following[:, eos_id]
                ended += [(text, float(score)) for text, score in zip(texts, ends, strict=True)]
            following[:, eos_id] = -torch.inf
            scores, parents, ids = _best(scores[:, None] + following, width)
            texts = [[*texts[parent], token] for parent, token in zip(parents, ids, strict=True)]
            ended = sorted(ended, key=lambda text: -text[1])[:width]
            if step == max_new_tokens - 1:
                ended += zip(texts, scores.tolist(), strict=True)
            elif len(ended) == width and ended[-1][1] >= float(scores[0]):
                texts, parents, ids = [], [], []  # no longer text can become likelier
        if not greedy.over and greedy.ids not in texts:
            parents, ids = [*parents, greedy.row], [*ids, greedy.ids[-1]]
            greedy.row = len(texts)
        elif not greedy.over:
            greedy.row = texts.index(greedy.ids)
        if not ids or step == max_new_tokens - 1:
            break
        cache.reorder(parents)
        logits = run_in_turn(decode_step, torch.tensor(ids, device=device), cache)
    return Found(sorted(ended, key=lambda text: -text[1])[:width], greedy.ids)


def _without(logits: Tensor, banned: Sequence[int]) -> Tensor:
    """Logits (b, vocab) in fp32 on the CPU, of which the banned ids are never the likeliest. Raises
    NotFiniteError."""
    logits = logits.detach().to("cpu", torch.float32, copy=True)
    check_finite(logits)
    logits[:, list(banned)] = -torch.inf
    return logits


def _best(scores: Tensor, width: int) -> tuple[Tensor, list[int], list[int]]:
    """The best of (b, vocab) scores, with the row that each comes from and its id."""
    possible = int(torch.isfinite(scores).sum())
    best, places = scores.flatten().topk(min(width, possible))
    return best, (places // scores.shape[1]).tolist(), (places % scores.shape[1]).tolist()
