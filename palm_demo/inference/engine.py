"""The engine writes a model's texts: many visitors' in one continuous batch, or a list of prompts at
once."""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from palm_demo.concurrency import run_in_thread
from palm_demo.errors import SamplingError, shown
from palm_demo.inference.beam_search import beam_search
from palm_demo.inference.continuous_batch import ContinuousBatch, Rows
from palm_demo.inference.decoding import (
    Prefill,
    QueuePosition,
    SequenceState,
    stream_ids,
    text_before,
    text_deltas,
)
from palm_demo.inference.prompts import check_length
from palm_demo.inference.requests import InPieces
from palm_demo.inference.sampling import Sampler
from palm_demo.inference.settings import BatchLimits, GenerationConfig, SamplingParams
from palm_demo.models.tokenizers import Tokenizer
from palm_demo.models.transformer import TransformerConfig

T = TypeVar("T")


class Model(Protocol):
    """The interface that a model needs for writing, apart from the prefill that comes with each request."""

    config: TransformerConfig

    def new_cache(self, rows: int, capacity: int) -> Rows: ...

    def decode_step(self, ids: Tensor, cache: Any) -> Tensor: ...

    def parameters(self) -> Iterator[Tensor]: ...


class Engine:
    """A model with its continuous batch: from prompt ids and a prefill to text."""

    def __init__(
        self, model: Model, tokenizer: Tokenizer, context: int, limits: BatchLimits, min_tokens: int = 0
    ):
        """Makes the batch.

        Args:
            model, tokenizer: what writes.
            context: tokens that prompt and answer may have together.
            limits: of the batch.
            min_tokens: tokens of prompt and answer together before a text may end by itself.
        """
        self.model, self.tokenizer, self.context = model, tokenizer, context
        self.min_tokens = min_tokens
        self.batch = ContinuousBatch(model.new_cache, self._decode_step, context, limits, self._step_beside)

    def stream(
        self,
        prompt: Sequence[int],
        read: Prefill | InPieces,
        settings: GenerationConfig,
        cancelled: threading.Event | None = None,
        dropped: str = "",
    ) -> Iterator[str]:
        """Writes one text in a row of the batch, and yields it in pieces.

        dropped: characters that are left out at the beginning, such as the space that belongs to the
        first word's token.

        Before the first piece it yields a `QueuePosition` for each position in the queue. Closing the
        iterator frees the row. Raises PromptError at once when prompt and answer are too long for the
        model, SamplingError when a choice is longer than the answer may be, and BusyError when the
        queue is full.
        """
        check_length(len(prompt), settings.max_new_tokens, self.context)
        choices = [self.tokenizer.encode(text) for text in settings.choices]
        check_choices(settings, choices)
        sampler = self._sampler(settings, choices)
        row = SequenceState(prompt, sampler, settings.max_new_tokens, self.tokenizer.eos_id)
        return self._deltas(row, read, () if choices else settings.stop, cancelled, dropped)

    @run_in_thread
    def texts(
        self, prompts: Sequence[Sequence[int]], prefill: Prefill, settings: GenerationConfig
    ) -> list[str]:
        """Writes texts for prompts that one prefill reads, decoded together outside the continuous batch.

        Each text ends before the first of the settings' stop strings.
        """
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
        return [text_before(self.tokenizer.decode(ids), settings.stop).strip() for ids in written]

    @run_in_thread
    def alternatives(
        self, prompt: Sequence[int], prefill: Prefill, count: int, max_new_tokens: int
    ) -> tuple[str, dict[str, float]]:
        """The greedy text after a prompt, and up to twice `count` texts with their probabilities, likeliest
        first: both from one batch."""
        chances: dict[str, float] = {}
        found = beam_search(
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
        for ids, log_probability in found.texts:
            text = self.tokenizer.decode(ids).strip()
            chances[text] = chances.get(text, 0.0) + math.exp(log_probability)
        best = sorted(chances.items(), key=lambda item: -item[1])
        return self.tokenizer.decode(found.greedy).strip(), dict(best)

    def _deltas(
        self,
        row: SequenceState,
        read: Prefill | InPieces,
        stop: Sequence[str],
        cancelled: threading.Event | None,
        dropped: str,
    ) -> Iterator[str]:
        on_device = self._on_device
        prompt = replace(read, begin=on_device(read.begin)) if isinstance(read, InPieces) else on_device(read)
        with self.batch.join(row, prompt, cancelled) as request:
            yield from map(QueuePosition, self.batch.queue_positions(request))
            yield from text_deltas(request.ids(), self.tokenizer, stop, dropped)

    def _on_device(self, read: Callable[..., T]) -> Callable[..., T]:
        """Wraps what reads a prompt, so that its ids come on the model's device."""
        return lambda ids, *given: read(ids.to(self._device), *given)

    def _decode_step(self, ids: Tensor, cache: Any) -> Tensor:
        return self.model.decode_step(ids.to(self._device), cache)

    def _step_beside(self, ids: Tensor, cache: Any, pieces: Sequence[tuple[Tensor, Any]]) -> Tensor:
        there = [(piece.to(self._device), own) for piece, own in pieces]
        return self.model.step_beside(ids.to(self._device), cache, there)

    def _sampler(self, sampling: SamplingParams, choices: Sequence[Sequence[int]] = ()) -> Sampler:
        return Sampler(sampling, self._banned, self.tokenizer.eos_id, self.min_tokens, choices)

    @property
    def _banned(self) -> list[int]:
        """Ids that are never generated."""
        return [*self.tokenizer.suppress_ids(), *range(len(self.tokenizer), self.model.config.vocab)]

    @property
    def _device(self) -> torch.device:
        return next(iter(self.model.parameters())).device


def check_choices(settings: GenerationConfig, choices: Sequence[Sequence[int]]) -> None:
    """Raises SamplingError if the ids of a choice are more than the settings' new tokens."""
    for text, ids in zip(settings.choices, choices, strict=True):
        if len(ids) > settings.max_new_tokens:
            raise SamplingError(
                f"the choice {shown(text.strip())} has {len(ids)} tokens and max_new_tokens is "
                f"{settings.max_new_tokens}; raise it, or shorten the choice"
            )
