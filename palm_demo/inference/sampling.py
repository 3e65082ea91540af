"""One step of sampling: from logits and the ids so far to the next id."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from palm_demo.errors import NotFiniteError
from palm_demo.inference.settings import SamplingParams

TINY = np.finfo(np.float64).tiny


class Sampler:
    """Samples one row's ids with its own random stream, so that other rows cannot change it."""

    def __init__(
        self,
        sampling: SamplingParams,
        banned: Sequence[int],
        eos_id: int | None = None,
        min_tokens: int = 0,
        choices: Sequence[Sequence[int]] = (),
    ):
        """Makes the random stream.

        Args:
            sampling: the settings.
            banned: ids that are never drawn.
            eos_id: ends a text.
            min_tokens: ids before which `eos_id` is not drawn, prompt included.
            choices: the ids of texts, one of which is drawn, and then `eos_id`; none for any text.
        """
        self.sampling, self.choices = sampling, [[*ids, eos_id] for ids in choices]
        self._begun: int | None = None
        self.eos_id, self.min_tokens = eos_id, min_tokens
        self.banned = torch.tensor(sorted(banned), dtype=torch.long)
        self.random = np.random.default_rng(sampling.seed)

    def __call__(self, logits: Tensor, history: Sequence[int]) -> int:
        """Draws the next id from logits (vocab,) and the ids so far. Raises NotFiniteError."""
        logits = logits.detach().to("cpu", torch.float32, copy=True)
        check_finite(logits)
        if self.choices:
            logits = self._of_choices(logits, history)
        else:
            logits[self.banned] = -torch.inf
            if len(history) < self.min_tokens:
                logits[self.eos_id] = -torch.inf
        if self.sampling.repetition_penalty != 1 and history:
            penalize_(logits, history, self.sampling.repetition_penalty)
        if self.sampling.temperature == 0:
            return int(logits.argmax())
        # From the largest down, so that a temperature near 0 cannot overflow.
        logits = (logits - logits.max()) / max(self.sampling.temperature, 1e-30)
        arrivals = torch.from_numpy(self.random.standard_exponential(len(logits)))
        if not self.sampling.top_k:
            return self._race(logits.softmax(dim=-1).double(), arrivals)
        logits, ids = likeliest(logits, int(self.sampling.top_k))
        return int(ids[self._race(logits.softmax(dim=-1).double(), arrivals[ids])])

    def _of_choices(self, logits: Tensor, history: Sequence[int]) -> Tensor:
        """The logits of the ids that go on with one of the choices; those of all others are minus
        infinity."""
        if self._begun is None:
            self._begun = len(history)
        said = list(history[self._begun :])
        following = sorted({ids[len(said)] for ids in self.choices if ids[: len(said)] == said})
        return torch.full_like(logits, -torch.inf).index_copy_(0, torch.tensor(following), logits[following])

    def _race(self, probabilities: Tensor, arrivals: Tensor) -> int:
        """Draws an id by its probability, as the first to arrive in a race of exponential times.

        It draws among the ids that top_p and min_p keep. A race ends the same whatever rounding does
        to the other ids' probabilities. Drawing by a cumulative sum would not: a text could change
        with the other rows of the batch.
        """
        speeds = probabilities / arrivals.clamp_(min=TINY)
        if self.sampling.min_p:
            speeds.masked_fill_(probabilities < self.sampling.min_p * probabilities.max(), 0)
        while True:
            first = int(speeds.argmax())
            if self.sampling.top_p == 1 or in_nucleus(probabilities, first, self.sampling.top_p):
                return first
            speeds.masked_fill_(probabilities <= probabilities[first], 0)  # nor is what is no likelier


def check_finite(logits: Tensor) -> None:
    """Raises NotFiniteError where a logit is not a number or is infinite."""
    if not all(map(math.isfinite, torch.stack(logits.aminmax()).tolist())):
        raise NotFiniteError(
            "the model's numbers for this text are not finite any more, so no word can be chosen; take "
            "another scope, or weights that are whole"
        )


def penalize_(logits: Tensor, history: Sequence[int], penalty: float) -> None:
    """Makes ids of the history less likely, in place (CTRL, Keskar et al. 2019, section 4.1)."""
    ids = torch.tensor(sorted(set(history)))
    seen = logits[ids]
    logits[ids] = torch.where(seen > 0, seen / penalty, seen * penalty)


def likeliest(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The logits and ids of the k likeliest ids, from logits (vocab,)."""
    return logits.topk(min(k, len(logits)))


def in_nucleus(probabilities: Tensor, token_id: int, p: float) -> bool:
    """Whether an id is in the smallest set of likeliest ids whose probability reaches p (Holtzman et al.
    2020).

    An id that is as likely as one of the set counts too. It needs no sorting of all ids.
    """
    likelier = float(probabilities.masked_fill(probabilities <= probabilities[token_id], 0).sum())
    return not likelier or likelier < p
