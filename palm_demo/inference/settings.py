"""What a text is written with, how many are written at once, and how a scope is taught.

No torch is needed here, so that commands show their settings without waiting for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

from palm_demo.errors import FinetuningError, SamplingError, check_number, shown

MOST_STOPS, STOP_CHARACTERS = 64, 200
"""Texts to end before, and characters of one: each is looked for after each token."""


@dataclass(frozen=True)
class SamplingParams:
    """How ids are drawn. temperature 0: the likeliest. top_k 0: no limit. top_p 1: all. min_p 0: all.

    min_p: leaves out ids that are less likely than this part of the likeliest (Nguyen et al. 2024).

    repetition_penalty: what positive logits of ids already there are divided by, and negative
    ones multiplied (CTRL, Keskar et al. 2019, section 4.1). seed None: a new one each time.
    Raises SamplingError outside these ranges.
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


CONTINUED = GenerationConfig(temperature=0.7, top_p=0.9, repetition_penalty=1.1, max_new_tokens=64)
ANSWERED = GenerationConfig(temperature=0.0, max_new_tokens=32)
"""What `stream` and `stream_answer` write with where a caller says nothing else."""


@dataclass(frozen=True)
class BatchLimits:
    """rows: texts written at once. waiting: how many more may stand in line. rows_of_one, waiting_of_one:
    how many of each a single client may have, where one is named (see `palm_demo.concurrency`); None: all.
    passes: requests outside of a batch that compute or wait, for all models together. prefix_bytes: of keys
    and values of beginnings that a model keeps, so that it does not read them again."""

    rows: int = 16
    waiting: int = 32
    rows_of_one: int | None = None
    waiting_of_one: int | None = None
    passes: int | None = None
    prefix_bytes: int = 64_000_000


@dataclass(frozen=True)
class FinetuningConfig:
    """How an adapter is taught. It ends after `steps` or `seconds`, or when the text to judge by has
    been judged `patience` times, every `judge_steps`, and was never found likelier than before.

    batch: windows of the text in a step. window: their tokens; short ones and few of them learn a short
    text the soonest. Raises TeachingError outside the ranges.
    """

    rank: int = 16
    steps: int = 1000
    seconds: float = 60.0
    learning_rate: float = 3e-3
    batch: int = 2
    window: int = 256
    judge_steps: int = 20
    patience: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("rank", 1, 256),
            ("steps", 1, 1_000_000),
            ("batch", 1, 1024),
            ("window", 1, 65_536),
            ("judge_steps", 1, 1_000_000),
            ("patience", 1, 1_000_000),
            ("seed", 0, 2**63 - 1),
        ):
            value = getattr(self, name)
            hint = f"{getattr(type(self), name)} by default"
            check_number(name, value, low, high, hint, FinetuningError, whole=True)
        for name, high in (("seconds", float("inf")), ("learning_rate", 1)):
            value = getattr(self, name)
            if not isinstance(value, Real) or isinstance(value, bool) or not 0 < value <= high:
                raise FinetuningError(f"{name} is {shown(value)}; it can be above 0, to {high}")
