"""Decoding: from prompts, one id per row and step, and text as it comes."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from palm_demo.concurrency import in_turn
from palm_demo.errors import PromptError
from palm_demo.inference.sampling import Sampler
from palm_demo.inference.settings import SamplingParams
from palm_demo.models.lora import Scope
from palm_demo.models.palm import PaLM
from palm_demo.models.tokenizers import Tokenizer

Prefill = Callable[[Tensor, Sequence[int], int], tuple[Tensor, Any]]
"""(b, n) ids padded on the right, lengths, capacity -> logits (b, vocab), cache."""

DecodeStep = Callable[[Tensor, Any], Tensor]
"""(b,) ids, cache -> logits (b, vocab). The cache advances."""


class SequenceState:
    """A text that is being written: its prompt, the ids so far, and whether it has ended.

    It ends with its first new `eos_id`, which is not returned (one in the prompt does not count), or
    after `max_new_tokens`.
    """

    def __init__(self, prompt: Sequence[int], sampler: Sampler, max_new_tokens: int, eos_id: int):
        self.history = list(prompt)
        self.sampler, self.eos_id = sampler, eos_id
        self.remaining = max_new_tokens
        self.ended = max_new_tokens < 1

    @property
    def last(self) -> int:
        """The latest id."""
        return self.history[-1]

    def draw(self, logits: Tensor) -> int | None:
        """Samples the next id from logits (vocab,). Returns None if the text ends instead."""
        token_id = self.sampler(logits, self.history)
        if token_id == self.eos_id:
            self.ended = True
            return None
        self.history.append(token_id)
        self.remaining -= 1
        self.ended = self.remaining == 0
        return token_id


def stream_ids(
    prefill: Prefill,
    decode_step: DecodeStep,
    prompts: Sequence[Sequence[int]],
    samplers: Sequence[Sampler],
    max_new_tokens: int,
    eos_id: int,
    device: torch.device,
    cancelled: threading.Event | None = None,
) -> Iterator[list[int | None]]:
    """Decodes rows that begin together. Yields a list per step: each row's new id, or None once it has
    ended.

    Args:
        prefill, decode_step: the model.
        prompts: ids of each row.
        samplers: one per row.
        max_new_tokens: the most new ids of a row.
        eos_id: ends a row.
        device: where the model computes.
        cancelled: once set, all rows end.
    """
    lengths = [len(prompt) for prompt in prompts]
    rows = [
        SequenceState(prompt, sampler, max_new_tokens, eos_id)
        for prompt, sampler in zip(prompts, samplers, strict=True)
    ]
    ids = torch.zeros(len(prompts), max(lengths), dtype=torch.long)
    for place, prompt in enumerate(prompts):
        ids[place, : len(prompt)] = torch.tensor(prompt)
    logits, cache = run_in_turn(prefill, ids.to(device), lengths, max(lengths) + max_new_tokens)
    while cancelled is None or not cancelled.is_set():
        new = [None if row.ended else row.draw(logits[place]) for place, row in enumerate(rows)]
        if all(token_id is None for token_id in new):
            return
        yield new
        if all(row.ended for row in rows):
            return
        following = [eos_id if row.ended else row.last for row in rows]
        logits = run_in_turn(decode_step, torch.tensor(following, device=device), cache)


def run_in_turn(function: Callable, *arguments: Any) -> Any:
    """Runs a pass of a model in its turn and in inference mode.

    Both end with the call, because a generator must not leave either to whoever it yields to.
    """
    with in_turn(), torch.inference_mode():
        return function(*arguments)


class QueuePosition(str):
    """An empty piece of a text that waits for a row. It tells the text's position in the queue."""

    place: int
    """The position; 1 is next."""

    def __new__(cls, place: int) -> "QueuePosition":
        delta = super().__new__(cls)
        delta.place = place
        return delta


def text_deltas(
    ids: Iterable[int], tokenizer: Tokenizer, stop: Sequence[str] = (), dropped: str = ""
) -> Iterator[str]:
    """Decodes ids to pieces of text, up to the first stop string and without it.

    A piece that may be the beginning of a stop string is held back until that is known.

    dropped: characters that are left out at the beginning, where stop strings do not begin yet either.
    """
    held, begun = "", not dropped
    for delta in tokenizer.decode_stream(ids):
        delta = delta if begun else delta.lstrip(dropped)
        begun = begun or bool(delta)
        held += delta
        before = text_before(held, stop)
        if before != held:
            if before:
                yield before
            return
        certain = len(held) - max((_overlap(held, s) for s in stop), default=0)
        if certain:
            yield held[:certain]
            held = held[certain:]
    if held:
        yield held


def text_before(text: str, stop: Sequence[str]) -> str:
    """The text before the first of the stop strings in it; the whole text if there is none."""
    found = (text.find(s) for s in stop if s)
    return text[: min((start for start in found if start >= 0), default=len(text))]


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of a text are the beginning of a stop string."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Moves a tensor to a device. A GPU may still be fetching it when this returns."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def to_cpu(tensor: Tensor) -> Tensor:
    """Moves a tensor to the CPU, and waits for it. torch reuses pinned memory for the next one of the
    size."""
    if tensor.device.type != "cuda":
        return tensor.cpu()
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor)


def generate_ids(
    palm: PaLM,
    ids: Tensor,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    seed: int | None = None,
    eos_id: int | None = None,
    scopes: Sequence[Scope] | None = None,
) -> Tensor:
    """Generates ids after prompts (b, n) with a bare PaLM: (b, new), greedy by default.

    Settings as in `SamplingParams`. Row `i` draws with seed + i. A row ends with its first new
    `eos_id` and is padded with more of it. `new` is less than `max_new_tokens` when all rows have
    ended. Raises PromptError unless there is at least one prompt with at least one id.
    """
    if ids.ndim != 2 or not ids.numel():
        raise PromptError(f"ids are of shape {tuple(ids.shape)}; give (b, n), prompts of one id or more")
    seeds = [None if seed is None else seed + row for row in range(len(ids))]
    samplings = [SamplingParams(temperature, top_k, top_p, min_p, repetition_penalty, own) for own in seeds]
    ended = -1 if eos_id is None else eos_id
    steps = stream_ids(
        partial(palm.prefill, scopes=scopes),
        palm.decode_step,
        ids.tolist(),
        [Sampler(sampling, banned=()) for sampling in samplings],
        max_new_tokens,
        ended,
        ids.device,
    )
    new = [[ended if i is None else i for i in step] for step in steps]
    return torch.tensor(new, dtype=ids.dtype, device=ids.device).reshape(-1, len(ids)).T
