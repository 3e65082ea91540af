"""Settings of sampling and generation, limits of a batch, and settings of fine-tuning.

This module does not need torch, so commands show their settings without loading it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

from palm_demo.errors import FinetuningError, SamplingError, check_number, shown
from palm_demo.text_limits import CHOICE_CHARACTERS, MOST_CHOICES, MOST_STOPS, STOP_CHARACTERS


@dataclass(frozen=True)
class SamplingParams:
    """How ids are sampled.

    Attributes:
        temperature: 0 always takes the likeliest id.
        top_k: the number of likeliest ids to sample from; 0 for all.
        top_p: the probability of the nucleus to sample from; 1 for all ids.
        min_p: leaves out ids less likely than this fraction of the likeliest (Nguyen et al. 2024); 0
            for none.
        repetition_penalty: positive logits of ids that occurred are divided by it, negative ones
            multiplied (CTRL, Keskar et al. 2019, section 4.1).
        seed: None for a new one each time.

    Raises SamplingError outside the ranges.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        for name, low, high, hint in (
            ("temperature", 0, 10, "0 is greedy, 1 samples as learned"),
            ("top_p", 0, 1, "1 keeps all ids"),
            ("min_p", 0, 1, "0 keeps all ids"),
            ("repetition_penalty", 0.1, 10, "1 is none"),
        ):
            check_number(name, getattr(self, name), low, high, hint, SamplingError)
        check_number("top_k", self.top_k, 0, 1_000_000, "0 keeps all ids", SamplingError, whole=True)
        if self.seed is not None:
            hint = "leave it out for a new one each time"
            check_number("seed", self.seed, 0, 2**63 - 1, hint, SamplingError, whole=True)


@dataclass(frozen=True)
class GenerationConfig(SamplingParams):
    """How a text is written.

    Attributes:
        max_new_tokens: the most tokens of the text.
        stop: strings before which the text ends.
        choices: texts, one of which is written, whatever `stop` says; none for any text. Token by token,
            only what goes on with one of them is drawn. Flamingo is asked so where all possible answers
            are known (close-ended tasks, Alayrac et al. 2022).
    """

    max_new_tokens: int = 64
    stop: Sequence[str] = ()
    choices: Sequence[str] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        hint = "the prompt and they have to fit the model's context"
        check_number("max_new_tokens", self.max_new_tokens, 1, 1_000_000, hint, SamplingError, whole=True)
        stops = (self.stop,) if isinstance(self.stop, str) else self.stop
        stops = _checked_texts("stop", stops, MOST_STOPS, STOP_CHARACTERS, "a text to end before, or a list")
        choices = _checked_texts("choices", self.choices, MOST_CHOICES, CHOICE_CHARACTERS, "a list of texts")
        if not all(text.strip() for text in choices):
            raise SamplingError("a text of choices is empty; leave it out, or write what may be answered")
        object.__setattr__(self, "stop", stops)
        object.__setattr__(self, "choices", choices)


def _checked_texts(name: str, texts: object, most: int, characters: int, wanted: str) -> tuple[str, ...]:
    """The texts of a setting. Raises SamplingError if they are no texts, too many, or one is too long."""
    if (
        isinstance(texts, str)
        or not isinstance(texts, Sequence)
        or not all(isinstance(t, str) for t in texts)
    ):
        raise SamplingError(f"{name} is {shown(texts)}; give {wanted}")
    if len(texts) > most:
        raise SamplingError(f"{name} has {len(texts):,} texts and at most {most} fit; leave some out")
    if (longest := max(map(len, texts), default=0)) > characters:
        raise SamplingError(
            f"a text of {name} has {longest:,} characters and at most {characters} fit; shorten it"
        )
    return tuple(texts)


CONTINUED = GenerationConfig(temperature=0.7, top_p=0.9, repetition_penalty=1.1, max_new_tokens=64)
ANSWERED = GenerationConfig(temperature=0.0, max_new_tokens=32)
"""The defaults of `stream` (CONTINUED) and of `stream_answer`."""


@dataclass(frozen=True)
class BatchLimits:
    """Limits of a model's batch and queue.

    Attributes:
        rows: texts written at once.
        waiting: how many more may wait in the queue.
        rows_of_one, waiting_of_one: how many of each a single client may have, if clients are known
            (see `palm_demo.concurrency`); None for all.
        passes: requests outside the batch that compute or wait, for all models together.
        prefix_bytes: the size of a model's prefix cache, and of the cache of frames that were seen.
    """

    rows: int = 16
    waiting: int = 32
    rows_of_one: int | None = None
    waiting_of_one: int | None = None
    passes: int | None = None
    prefix_bytes: int = 64_000_000


@dataclass(frozen=True)
class FinetuningConfig:
    """How an adapter is trained.

    Training ends after `steps` or `seconds`, or after `patience` evaluations on the held-out end of
    the text without a better result. There is one every `eval_steps`.

    Attributes:
        rank: of the LoRA matrices.
        batch: windows of the text in a step.
        window: tokens of a window. Few, short windows learn a short text the fastest.

    Raises FinetuningError outside the ranges.
    """

    rank: int = 16
    steps: int = 1000
    seconds: float = 60.0
    learning_rate: float = 3e-3
    batch: int = 2
    window: int = 256
    eval_steps: int = 20
    patience: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("rank", 1, 256),
            ("steps", 1, 1_000_000),
            ("batch", 1, 1024),
            ("window", 1, 65_536),
            ("eval_steps", 1, 1_000_000),
            ("patience", 1, 1_000_000),
            ("seed", 0, 2**63 - 1),
        ):
            value = getattr(self, name)
            hint = f"{getattr(type(self), name)} by default"
            check_number(name, value, low, high, hint, FinetuningError, whole=True)
        for name, high, limits in (
            ("seconds", float("inf"), "above 0"),
            ("learning_rate", 1, "above 0, to 1"),
        ):
            value = getattr(self, name)
            if not isinstance(value, Real) or isinstance(value, bool) or not 0 < value <= high:
                hint = f"{getattr(type(self), name)} by default"
                raise FinetuningError(f"{name} is {shown(value)}; it can be {limits} ({hint})")
