"""Rows of a batch, and a model that counts."""

import threading

import torch

from palm_demo.inference.continuous_batch import ContinuousBatch
from palm_demo.inference.decoding import SequenceState
from palm_demo.inference.sampling import Sampler
from palm_demo.inference.settings import BatchLimits, SamplingParams

EOS = 2
PATIENCE_SECONDS = 60
"""For what happens within a moment on an idle machine."""


def row(prompt: list[int], new: int = 8, seed: int | None = None, eos: int = EOS) -> SequenceState:
    """Greedy, or drawn with a seed."""
    sampling = (
        SamplingParams()
        if seed is None
        else SamplingParams(temperature=1.0, repetition_penalty=1.2, seed=seed)
    )
    return SequenceState(prompt, Sampler(sampling, []), new, eos)


class Counted:
    """A model that says the number after the last one, and whose steps wait to be let through."""

    def __init__(self, rows: int, waiting: int = 2):
        self.tokens: list[int] = []  # the cache: each row's last id
        self.steps = threading.Semaphore(0)
        self.read: list[int] = []  # the last id of each prompt
        limits = BatchLimits(rows, waiting)
        self.batch = ContinuousBatch(lambda rows, capacity: self, self.decode_step, 100, limits)

    def prefill(self, ids, lengths, capacity):
        self.read.append(int(ids[0, -1]))
        return self._logits(ids[:, -1]), ids[0, -1:].tolist()

    def decode_step(self, ids, cache):
        assert self.steps.acquire(timeout=PATIENCE_SECONDS)
        assert len(ids) == len(self.tokens)
        return self._logits(ids)

    def put(self, one: list[int]) -> None:
        self.tokens += one

    def drop(self, row: int) -> None:
        self.tokens[row] = self.tokens[-1]
        self.tokens.pop()

    def let(self, steps: int) -> None:
        self.steps.release(steps)

    def join(self, prompt: list[int], new: int = 50, cancelled: threading.Event | None = None):
        return self.batch.join(row(prompt, new), self.prefill, cancelled)

    @staticmethod
    def _logits(ids):
        return torch.nn.functional.one_hot(ids + 1, 100).float()
