"""One step of sampling: logits and history in, one id out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from palm_demo.arguments import check_number, shown
from palm_demo.errors import NotFiniteError, SamplingError

TINY = np.finfo(np.float64).tiny

MOST_STOPS, STOP_CHARACTERS = 64, 200
"""Texts to end before, and characters of one: each is looked for after each token."""


@dataclass(frozen=True)
class Sampling:
    """How ids are drawn. temperature 0: the likeliest. top_k 0: no limit. top_p 1: all.

    repetition_penalty: what positive logits of ids already there are divided by, and negative
    ones multiplied (CTRL, Keskar et al. 2019, section 4.1). seed None: a new one each time.
    Raises SamplingError outside these ranges.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        for name, low, high, hint in (
            ("temperature", 0, 10, "0 is greedy, 1 samples as learned"),
            ("top_p", 0, 1, "1 keeps all ids"),
            ("repetition_penalty", 0.1, 10, "1 is none"),
        ):
            check_number(name, getattr(self, name), low, high, hint, SamplingError)
        check_number("top_k", self.top_k, 0, 1_000_000, "0 keeps all ids", SamplingError, whole=True)
        if self.seed is not None:
            hint = "leave it out for a new one each time"
            check_number("seed", self.seed, 0, 2**63 - 1, hint, SamplingError, whole=True)


@dataclass(frozen=True)
class TextSettings(Sampling):
    """How a text is written: how its ids are drawn, how many at most, and before which words it stops."""

    max_new_tokens: int = 64
    stop: Sequence[str] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        hint = "the prompt and they have to fit the model's context"
        check_number("max_new_tokens", self.max_new_tokens, 1, 1_000_000, hint, SamplingError, whole=True)
        stops = (self.stop,) if isinstance(self.stop, str) else self.stop
        if not isinstance(stops, Sequence) or not all(isinstance(text, str) for text in stops):
            raise SamplingError(f"stop is {shown(self.stop)}; give a text to end before, or a list of them")
        if len(stops) > MOST_STOPS:
            raise SamplingError(f"stop has {len(stops):,} texts and at most {MOST_STOPS} fit; leave some out")
        if (longest := max(map(len, stops), default=0)) > STOP_CHARACTERS:
            raise SamplingError(
                f"a text of stop has {longest:,} characters and at most {STOP_CHARACTERS} fit; shorten it"
            )
        object.__setattr__(self, "stop", tuple(stops))


class Sampler:
    """One row's sampling with its own random stream, so that neighbours cannot change it."""

    def __init__(
        self, sampling: Sampling, banned: Sequence[int], eos_id: int | None = None, least_tokens: int = 0
    ):
        """banned: ids that never come out. eos_id: comes out only behind `least_tokens` ids, the prompt's
        counted."""
        self.sampling = sampling
        self.eos_id, self.least_tokens = eos_id, least_tokens
        self.banned = torch.tensor(sorted(banned), dtype=torch.long)
        self.random = np.random.default_rng(sampling.seed)

    def __call__(self, logits: Tensor, history: Sequence[int]) -> int:
        """(vocab,) logits, the ids so far -> the next id. Raises NotFiniteError."""
        logits = logits.detach().to("cpu", torch.float32, copy=True)
        check_finite(logits)
        logits[self.banned] = -torch.inf
        if len(history) < self.least_tokens:
            logits[self.eos_id] = -torch.inf
        if self.sampling.repetition_penalty != 1 and history:
            penalize_(logits, history, self.sampling.repetition_penalty)
        if self.sampling.temperature == 0:
            return int(logits.argmax())
        # From the largest down, so that a temperature near 0 cannot overflow.
        logits = (logits - logits.max()) / max(self.sampling.temperature, 1e-30)
        if self.sampling.top_k:
            logits = keep_top_k(logits, int(self.sampling.top_k))
        return self._race(logits.softmax(dim=-1).double())

    def _race(self, probabilities: Tensor) -> int:
        """The id that arrives first, each as often as is probable, of those in the nucleus.

        A race of all ids ends alike whatever rounding does to the others' chances: where one random
        number falls in a running sum changes with it, and so would a text that is written beside others.
        """
        arrivals = torch.from_numpy(self.random.standard_exponential(len(probabilities))).clamp_(min=TINY)
        speeds = probabilities / arrivals
        while True:
            first = int(speeds.argmax())
            if self.sampling.top_p == 1 or in_nucleus(probabilities, first, self.sampling.top_p):
                return first
            speeds[probabilities <= probabilities[first]] = 0  # nor is what is no likelier


def check_finite(logits: Tensor) -> None:
    """Raises NotFiniteError where nothing can be told from logits: one of them is no number, or infinite."""
    if not all(map(math.isfinite, torch.stack(logits.aminmax()).tolist())):
        raise NotFiniteError(
            "the model's numbers for this text are not finite any more, so no word can be chosen; take "
            "another scope, or weights that are whole"
        )


def penalize_(logits: Tensor, history: Sequence[int], penalty: float) -> None:
    """Makes ids that stand in the history less likely, in place."""
    ids = torch.tensor(sorted(set(history)))
    said = logits[ids]
    logits[ids] = torch.where(said > 0, said / penalty, said * penalty)


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """(vocab,) -> the same with all but the k likeliest ids at -inf."""
    values, ids = logits.topk(min(k, len(logits)))
    return torch.full_like(logits, -torch.inf).scatter(0, ids, values)


def in_nucleus(probabilities: Tensor, token_id: int, p: float) -> bool:
    """Whether an id is of the smallest set of likeliest ids whose probability reaches p (Holtzman
    et al. 2020), or as likely as one of them. Needs no sorting of all ids."""
    likelier = probabilities[probabilities > probabilities[token_id]]
    return not len(likelier) or bool(likelier.sum() < p)
