"""PaLM in a session: it continues texts, scores them, and is fine-tuned with LoRA adapters."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator

from palm_demo import checkpoints
from palm_demo.arguments import Cancelled, File, LongText, Takes, Text, Whole, checked
from palm_demo.concurrency import locked_cached_property, queued, run_in_thread
from palm_demo.errors import CheckpointError, PalmDemoError, PromptError, ScopeError, shown
from palm_demo.inference.lora_finetuning import Progress, finetune
from palm_demo.inference.prefix_cache import Beginning, scope_key
from palm_demo.inference.requests import InPieces
from palm_demo.inference.scoring import (
    TokenProbability,
    author_probabilities,
    bits_per_byte,
    token_probabilities,
)
from palm_demo.inference.settings import CONTINUED, FinetuningConfig, GenerationConfig
from palm_demo.models import PaLM
from palm_demo.models.lora import Adapter, Scope
from palm_demo.models.tokenizers import plain, strip_trailing_spaces
from palm_demo.session.part import Part

SCORED_AT_ONCE = 1024
"""Tokens whose logits over the whole vocabulary are held at once."""


def _adapter(value: Any) -> Any:
    if not isinstance(value, Adapter):
        raise ValueError
    return value


GivenAdapter = Annotated[Any, AfterValidator(_adapter), Takes("an adapter of `load_adapter` or `finetune`")]


@contextmanager
def adapter_file(path: str | Path) -> Iterator[None]:
    """Raises CheckpointError if an adapter cannot be written to a file within the `with`."""
    try:
        yield
    except PalmDemoError:
        raise
    except (OSError, ValueError) as error:  # the latter of a path without a name, and of one with a NUL
        raise CheckpointError(
            f"the adapter cannot be written to {shown(str(path))} ({getattr(error, 'strerror', error)}); "
            "name a file in a folder that has room and where you may write"
        ) from error


class PalmPart(Part[PaLM]):
    """The part of a session with PaLM. Session explains the verbs under the same names."""

    @property
    def scopes(self) -> list[str]:
        """Names of the scopes that came with the weights or were added since."""
        return self.model.scopes.names

    @locked_cached_property
    def fingerprint(self) -> str:
        """The fingerprint of the base weights, which adapters belong to."""
        return checkpoints.fingerprint(self.model.base_weights())

    @checked
    def stream(
        self,
        prompt: Text,
        scope: Scope = None,
        config: GenerationConfig = CONTINUED,
        cancelled: Cancelled = None,
    ) -> Iterator[str]:
        """Text deltas of the prompt's continuation.

        Args:
            prompt: the beginning of a text.
            scope: a scope's name, an adapter, a mix {scope: strength}, or None for the base model.
            config: how ids are drawn, how many at most, and before which words the text stops.
            cancelled: once set, the text ends before its next token.

        Raises:
            PromptError: at once, where the prompt is empty or too long.
            ScopeError: at once, where there is no such scope.
            BusyError: in place of the first delta, when the queue is full.
        """
        if not plain(prompt).strip():
            raise PromptError("the prompt is empty; write the beginning of a text")
        self.model.scopes.find(scope)
        scope = dict(scope) if isinstance(scope, Mapping) else scope  # which its owner may go on changing
        begun = strip_trailing_spaces(prompt)
        ids = [*self.tokenizer.prefix_ids, *self.tokenizer.encode(begun)]
        read = InPieces(
            partial(self.model.begin, scopes=[scope]), lambda: Beginning(scope_key(self.model, scope), ids)
        )
        return self.engine.stream(ids, read, config, cancelled, dropped="" if begun == prompt else " ")

    @checked
    @queued
    @run_in_thread
    def bits_per_byte(self, text: LongText, scope: Scope = None) -> float:
        """Cross entropy of a text, in bits per byte of its plain form."""
        _check_not_empty(text)
        return bits_per_byte(self.model, self.tokenizer, text, scope, self._window)

    @checked
    @queued
    def who_wrote(self, text: Text) -> dict[str, float]:
        """The probability of each scope that its author wrote the text. They sum to 1."""
        if not plain(text).strip():
            raise PromptError("the text is empty; give a passage, best of 1,000 characters or more")
        if len(self.scopes) < 2:
            raise ScopeError(
                f"there are fewer than two scopes to tell apart ({len(self.scopes)}); load two or more"
            )
        return author_probabilities({name: self.bits_per_byte(text, name) for name in self.scopes}, text)

    @checked
    @queued
    @run_in_thread
    def token_probabilities(self, text: Text, scope: Scope = None) -> list[TokenProbability]:
        """The probability of each token of a text after those before it."""
        _check_not_empty(text)
        return token_probabilities(self.model, self.tokenizer, text, scope, self._window)

    @checked
    def finetune(
        self,
        text: LongText,
        config: FinetuningConfig = FinetuningConfig(),  # noqa: B008 - it is frozen
        cancelled: Cancelled = None,
    ) -> Iterator[Progress]:
        """Trains an adapter on a text, a step at a time, in turns with other requests.

        Args:
            text: what it learns from; its end is held out to judge by.
            config: rank, length and rate of the training.
            cancelled: once set, the training ends.

        Raises:
            FinetuningError: at once, where the text is too short.
        """
        return finetune(self.model, self.tokenizer, text, self._window, config, cancelled, self.turns)

    @checked
    def save_adapter(self, adapter: GivenAdapter, path: File) -> None:
        """Writes an adapter as a safetensors file."""
        self.model.scopes.find(adapter)
        with adapter_file(path):
            checkpoints.save_adapter(Path(path), self.model, adapter, self.fingerprint)

    @checked
    def load_adapter(self, path: File, highest_rank: Whole = checkpoints.HIGHEST_RANK) -> Adapter:
        """Reads an adapter from a file, after checking that it belongs to this model."""
        return checkpoints.load_adapter(
            Path(path), self.model, highest_rank, self.fingerprint, self._attention_norms
        )

    @locked_cached_property
    def _attention_norms(self) -> checkpoints.AttentionNorms:
        """Norms of the attention's weights, which an adapter's updates are compared with."""
        return checkpoints.attention_norms(self.model)

    @property
    def _window(self) -> int:
        """Tokens of a window in which a text is scored."""
        return min(self.context, SCORED_AT_ONCE)

    def _count_parameters(self) -> int:
        """The number of parameters of the base model, without its scopes."""
        return sum(weight.numel() for weight in self.model.decoder.parameters())


def _check_not_empty(text: str) -> None:
    if not plain(text):
        raise PromptError("the text is empty; give at least one character")
