"""What a session does with PaLM: texts go on, are judged, and teach scopes."""

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from palm_demo import checkpoints
from palm_demo.arguments import File, Text, Texts, Whole, checked
from palm_demo.concurrency import in_line, made_once, run_in_thread
from palm_demo.errors import PromptError, ScopeError
from palm_demo.inference.engine import without_leading_space
from palm_demo.inference.lora_finetuning import Progress, finetune
from palm_demo.inference.scoring import (
    TokenProbability,
    author_probabilities,
    bits_per_byte,
    token_probabilities,
)
from palm_demo.inference.settings import CONTINUED, FinetuningConfig, GenerationConfig
from palm_demo.models.cpu_linear import Weights
from palm_demo.models.lora import Adapter, Scope
from palm_demo.models.tokenizers import plain, without_last_spaces
from palm_demo.session.loaded import Loaded

JUDGED_AT_ONCE = 1024


class PalmVerbs(Loaded):
    """Text alone."""

    @property
    def scopes(self) -> list[str]:
        """Names of the LoRA scopes that `generate` can be asked to use."""
        return self.palm.scopes.names

    @checked
    def generate(
        self,
        prompt: Text,
        scope: Scope = None,
        *,
        max_new_tokens: Whole = CONTINUED.max_new_tokens,
        temperature: float = CONTINUED.temperature,
        top_k: Whole = CONTINUED.top_k,
        top_p: float = CONTINUED.top_p,
        repetition_penalty: float = CONTINUED.repetition_penalty,
        stop: Texts = (),
        seed: Whole | None = None,
    ) -> str:
        """The prompt's continuation by PaLM; arguments and errors as in `stream`."""
        deltas = self.stream(
            prompt,
            scope,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            repetition_penalty=repetition_penalty,
            stop=stop,
            seed=seed,
        )
        return "".join(deltas)

    @checked
    def stream(
        self,
        prompt: Text,
        scope: Scope = None,
        *,
        max_new_tokens: Whole = CONTINUED.max_new_tokens,
        temperature: float = CONTINUED.temperature,
        top_k: Whole = CONTINUED.top_k,
        top_p: float = CONTINUED.top_p,
        repetition_penalty: float = CONTINUED.repetition_penalty,
        stop: Texts = (),
        seed: Whole | None = None,
        cancelled: threading.Event | None = None,
    ) -> Iterator[str]:
        """Text deltas of the prompt's continuation, in a scope (its name, or an adapter that has none),
        in a mix of them ({"carroll": 0.7, "poe": 0.5}; below 0 is the other way) or (None) by the base model.

        max_new_tokens to seed: as in TextSettings. cancelled: once set, the text ends before its next
        token. A text that has to wait begins with empty deltas, `QueuePosition`, that tell its place in line.

        Raises ArgumentError, PromptError, ScopeError or SamplingError at once, BusyError instead of the
        first delta when the line is full.
        """
        if not plain(prompt).strip():
            raise PromptError("the prompt is empty; write the beginning of a text")
        wanted = GenerationConfig(
            temperature, top_k, top_p, repetition_penalty, seed, max_new_tokens, tuple(stop)
        )
        self.palm.scopes.find(scope)
        begun, tokenizer = without_last_spaces(prompt), self.systems.palm.tokenizer
        ids = [*tokenizer.opening, *tokenizer.encode(begun)]
        prefill = partial(self.palm.prefill, scopes=[scope])
        deltas = self.systems.palm.writer.stream(ids, prefill, wanted, cancelled)
        return deltas if begun == prompt else without_leading_space(deltas)

    @checked
    @in_line
    @run_in_thread
    def bits_per_byte(self, text: Text, scope: Scope = None) -> float:
        """How well PaLM predicts a text of any length: bits over the UTF-8 bytes of its
        plain form (curly quotes count as straight ones, — as --), lower is better."""
        if not plain(text):
            raise PromptError("the text is empty; give at least one character")
        return bits_per_byte(self.palm, self.systems.palm.tokenizer, text, scope, self._window)

    @checked
    @in_line
    def who_wrote(self, text: Text) -> dict[str, float]:
        """Scope -> probability that its author wrote the text, if one of them did; they sum to 1.

        Raises PromptError on an empty text, ScopeError where there are not two scopes to tell apart.
        """
        if not plain(text).strip():
            raise PromptError("the text is empty; give a passage, best of 1,000 characters or more")
        if len(self.scopes) < 2:
            raise ScopeError(f"there are {len(self.scopes)} scopes; load two or more to tell apart")
        return author_probabilities({name: self.bits_per_byte(text, name) for name in self.scopes}, text)

    @checked
    @in_line
    @run_in_thread
    def token_probabilities(self, text: Text, scope: Scope = None) -> list[TokenProbability]:
        """Each token of a text of any length: how probable PaLM found it after those before it, and
        the five likeliest instead. Raises PromptError on an empty text, ScopeError."""
        if not plain(text):
            raise PromptError("the text is empty; give at least one character")
        return token_probabilities(self.palm, self.systems.palm.tokenizer, text, scope, self._window)

    @checked
    def finetune(
        self,
        text: Text,
        *,
        rank: Whole = FinetuningConfig.rank,
        steps: Whole = FinetuningConfig.steps,
        seconds: float = FinetuningConfig.seconds,
        learning_rate: float = FinetuningConfig.learning_rate,
        batch: Whole = FinetuningConfig.batch,
        window: Whole = FinetuningConfig.window,
        judge_steps: Whole = FinetuningConfig.judge_steps,
        patience: Whole = FinetuningConfig.patience,
        seed: Whole = FinetuningConfig.seed,
        cancelled: threading.Event | None = None,
    ) -> Iterator[Progress]:
        """Teaches an adapter a text while texts go on being written: Progress after each step, the
        first before any. Each has the best adapter so far, which is a scope for whoever has it.

        rank to seed: as in TeachingSettings. stopped: once set, the teaching ends. Raises ArgumentError
        or TeachingError at once on a text too short or settings outside their ranges.
        """
        wanted = FinetuningConfig(
            rank, steps, seconds, learning_rate, batch, window, judge_steps, patience, seed
        )
        return finetune(
            self.palm, self.systems.palm.tokenizer, text, self._window, wanted, cancelled, self.turns
        )

    @property
    def _window(self) -> int:
        """Tokens that a text is judged by at once: each needs logits of the whole vocabulary."""
        return min(self.systems.palm.context, JUDGED_AT_ONCE)

    @checked
    def save_adapter(self, adapter: Adapter, path: File) -> None:
        """Writes an adapter as a safetensors file that `load_adapter` takes."""
        checkpoints.save_adapter(Path(path), self.palm, adapter, self._base)

    @checked
    def load_adapter(self, path: File, highest_rank: Whole = checkpoints.HIGHEST_RANK) -> Adapter:
        """The adapter of a file, which may come from anywhere. Raises CheckpointError where it is none
        of this PaLM's."""
        return checkpoints.load_adapter(Path(path), self.palm, highest_rank, self._base, self._norms)

    @made_once
    def _norms(self) -> checkpoints.AttentionNorms:
        """What the additions of a scope of this PaLM are compared with."""
        return checkpoints.attention_norms(self.palm.decoder.blocks)

    @made_once
    def _base(self) -> str:
        """Which weights a scope of this PaLM belongs to."""
        return checkpoints.fingerprint(Weights(self.palm.decoder))
