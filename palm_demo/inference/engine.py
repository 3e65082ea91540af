"""One model's texts: those of many visitors in one continuous batch, or a list of them at once."""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from palm_demo.concurrency import run_in_thread
from palm_demo.inference.beam_search import beam_search
from palm_demo.inference.continuous_batch import ContinuousBatch, Rows
from palm_demo.inference.decoding import Prefill, QueuePosition, SequenceState, stream_ids, text_deltas
from palm_demo.inference.prompts import check_length
from palm_demo.inference.requests import InPieces
from palm_demo.inference.sampling import Sampler
from palm_demo.inference.settings import BatchLimits, GenerationConfig, SamplingParams
from palm_demo.models.tokenizers import Tokenizer
from palm_demo.models.transformer import TransformerConfig

T = TypeVar("T")


class Model(Protocol):
    """What a model must offer to write, beside the prefill that comes with each request."""

    size: TransformerConfig

    def new_cache(self, rows: int, capacity: int) -> Rows: ...

    def decode_step(self, ids: Tensor, cache: Any) -> Tensor: ...

    def parameters(self) -> Iterator[Tensor]: ...


class Engine:
    """A model and its batch: from prompt ids and a prefill to text."""

    def __init__(
        self, model: Model, tokenizer: Tokenizer, context: int, limits: BatchLimits, min_tokens: int = 0
    ):
        """context: tokens that prompt and answer may have together. min_tokens: that they have together
        before a text may end by itself."""
        self.model, self.tokenizer, self.context = model, tokenizer, context
        self.min_tokens = min_tokens
        self.batch = ContinuousBatch(model.new_cache, self._extend, context, limits, self._step_beside)

    def stream(
        self,
        prompt: Sequence[int],
        read: Prefill | InPieces,
        settings: GenerationConfig,
        cancelled: threading.Event | None = None,
    ) -> Iterator[str]:
        """Text deltas from a row of the batch, which whoever closes the iterator frees. Before the
        first, a `QueuePosition` for each place in line. BusyError when the line is full.

        Raises PromptError at once when prompt and answer are too long for the model.
        """
        check_length(len(prompt), settings.max_new_tokens, self.context)
        sampler = self._sampler(settings)
        row = SequenceState(prompt, sampler, settings.max_new_tokens, self.tokenizer.eos_id)
        return self._deltas(row, read, settings.stop, cancelled)

    @run_in_thread
    def texts(
        self, prompts: Sequence[Sequence[int]], prefill: Prefill, settings: GenerationConfig
    ) -> list[str]:
        """Texts of prompts that one prefill reads, decoded together and with nobody else's, each up to the
        first of the settings' stop strings."""
        written: list[list[int]] = [[] for _ in prompts]
        samplers = [self._sampler(settings) for _ in prompts]
        steps = stream_ids(
            prefill,
            self.model.decode_step,
            prompts,
            samplers,
            settings.max_new_tokens,
            self.tokenizer.eos_id,
            self._device,
        )
        for step in steps:
            for ids, token_id in zip(written, step, strict=True):
                if token_id is not None:
                    ids.append(token_id)
        return [self._until(settings.stop, self.tokenizer.decode(ids)).strip() for ids in written]

    @run_in_thread
    def alternatives(
        self, prompt: Sequence[int], prefill: Prefill, count: int, max_new_tokens: int
    ) -> dict[str, float]:
        """The likeliest texts after a prompt -> the probability of each, likeliest first."""
        found: dict[str, float] = {}
        ended = beam_search(
            prefill,
            self.model.decode_step,
            prompt,
            2 * count,  # one text can have several tokenizations, and the last of a beam are often cut off
            max_new_tokens,
            self.tokenizer.eos_id,
            self._banned,
            self._device,
            self.min_tokens,
        )
        for ids, log_probability in ended:
            text = self.tokenizer.decode(ids).strip()
            found[text] = found.get(text, 0.0) + math.exp(log_probability)
        best = sorted(found.items(), key=lambda item: -item[1])
        return dict(best[:count])

    def _deltas(
        self,
        row: SequenceState,
        read: Prefill | InPieces,
        stop: Sequence[str],
        cancelled: threading.Event | None,
    ) -> Iterator[str]:
        prompt = (
            replace(read, begin=self._there(read.begin)) if isinstance(read, InPieces) else self._there(read)
        )
        with self.batch.join(row, prompt, cancelled) as ticket:
            yield from map(QueuePosition, self.batch.places(ticket))
            yield from text_deltas(ticket.ids(), self.tokenizer, stop)

    def _there(self, read: Callable[..., T]) -> Callable[..., T]:
        """The same with its first argument, ids, on the model's device."""
        return lambda ids, *given: read(ids.to(self._device), *given)

    def _extend(self, ids: Tensor, cache: Any) -> Tensor:
        return self.model.decode_step(ids.to(self._device), cache)

    def _step_beside(self, ids: Tensor, cache: Any, pieces: Sequence[tuple[Tensor, Any]]) -> Tensor:
        there = [(piece.to(self._device), own) for piece, own in pieces]
        return self.model.step_beside(ids.to(self._device), cache, there)

    def _sampler(self, sampling: SamplingParams) -> Sampler:
        return Sampler(sampling, self._banned, self.tokenizer.eos_id, self.min_tokens)

    @staticmethod
    def _until(stop: Sequence[str], text: str) -> str:
        """What stands before the first stop string."""
        return text[: min((at for mark in stop if mark and (at := text.find(mark)) >= 0), default=len(text))]

    @property
    def _banned(self) -> list[int]:
        """Ids that never come out."""
        return [*self.tokenizer.suppress_ids(), *range(len(self.tokenizer), self.model.config.vocab)]

    @property
    def _device(self) -> torch.device:
        return next(iter(self.model.parameters())).device


def without_leading_space(deltas: Iterator[str]) -> Iterator[str]:
    """Words follow a prompt after a space, which belongs to their tokens, not to the answer."""
    begun = False
    for delta in deltas:
        if isinstance(delta, QueuePosition):
            yield delta
            continue
        delta = delta if begun else delta.lstrip()
        if delta:
            begun = True
            yield delta
