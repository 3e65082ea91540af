"""Fine-tunes a LoRA adapter on a text, while the model goes on serving others."""

import math
import threading
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from random import Random

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from palm_demo.concurrency import Computation, FairQueue, run_in_thread
from palm_demo.errors import FinetuningError, NotFiniteError
from palm_demo.inference.scoring import bits_per_byte
from palm_demo.inference.settings import FinetuningConfig
from palm_demo.models.lora import Adapter
from palm_demo.models.losses import IGNORED
from palm_demo.models.packed_weights import onednn_knows_bf16
from palm_demo.models.palm import PaLM
from palm_demo.models.tokenizers import BundledTokenizer

FEWEST_TOKENS = 1000
"""The fewest tokens of a text, about two pages. A tenth of less is too little to evaluate on."""

EVALUATED_CHARACTERS = 12_000
"""The most characters of the held-out part that are read, so that evaluating takes no longer than
training."""

WARMUP_STEPS = 10
RECENCY = 8
"""The adapter that is evaluated and returned is a mean of the weights of all steps, with most weight on
the latest ninth (Shamir and Zhang 2013, section 4).

At every step it is as good as if the learning rate had decayed to zero by then, so the number of steps
need not be known.
"""


@dataclass(frozen=True)
class Progress:
    """The state of a fine-tuning after a step.

    Attributes:
        step, seconds: so far.
        loss: of the step's batch, in nats per token; None before the first step.
        bits_per_byte: of the held-out part, if this step was evaluated.
        base, best: bits per byte before the first step, and the lowest so far.
        adapter: the best so far. It does not change any more.
    """

    step: int
    seconds: float
    loss: float | None
    bits_per_byte: float | None
    base: float
    best: float
    adapter: Adapter = field(repr=False)


def finetune(
    palm: PaLM,
    tokenizer: BundledTokenizer,
    text: str,
    context: int,
    settings: FinetuningConfig,
    cancelled: threading.Event | None = None,
    turns: FairQueue | None = None,
) -> Iterator[Progress]:
    """Trains a fresh adapter on a text and evaluates it on the text's last tenth.

    Yields Progress before the first step and after each one; the last is evaluated. The same settings
    give the same adapter after the same number of steps. The model's own weights and scopes stay as
    they are.

    Args:
        palm, tokenizer: the model.
        text: to learn from.
        context: tokens of a window at most.
        settings: rank, length and rate of the training.
        cancelled: once set, the training ends.
        turns: where each step waits for its turn.

    Raises FinetuningError at once if the text is too short, and later if the loss is not a number any
    more.
    """
    training_text, held_out = split_text(text)
    ids = tokenizer.encode(training_text)
    if len(ids) < FEWEST_TOKENS * 9 // 10:
        raise FinetuningError(
            f"the text has about {len(ids) * 10 // 9:,} tokens and {FEWEST_TOKENS:,} are needed, which is "
            "two pages; give more of it"
        )
    return _train(palm, tokenizer, ids, held_out, context, settings, cancelled, turns or FairQueue())


def split_text(text: str) -> tuple[str, str]:
    """Splits a text into the training part and its last tenth, which begins with a word.

    White space at the end of the text does not count. Writing without spaces is split anywhere.
    """
    stripped = text.rstrip()
    start, earliest = len(stripped) * 9 // 10, len(stripped) * 8 // 10
    start += len(stripped[start:]) - len(stripped[start:].lstrip())
    word = start
    while word > earliest and not text[word - 1].isspace():
        word -= 1
    cut = word if word > earliest else start
    return text[:cut], text[cut:]


def _train(
    palm: PaLM,
    tokenizer: BundledTokenizer,
    ids: Sequence[int],
    held_out: str,
    context: int,
    settings: FinetuningConfig,
    cancelled: threading.Event | None,
    turns: FairQueue,
) -> Iterator[Progress]:
    begun = time.monotonic()
    with turns.computation() as computation:
        trainer = _Trainer(palm, tokenizer, ids, context, settings, computation)
        evaluated = trainer.evaluate(held_out)
        latest = Progress(0, 0.0, None, evaluated, evaluated, evaluated, trainer.mean_adapter())
        yield latest
        step = without_gain = 0
        over = False
        while not over:
            loss = trainer.step(step)
            step += 1
            seconds = time.monotonic() - begun
            over = step == settings.steps or seconds >= settings.seconds
            over = over or (cancelled is not None and cancelled.is_set())
            evaluated, best, adapter = None, latest.best, latest.adapter
            if over or step % settings.eval_steps == 0:
                evaluated = trainer.evaluate(held_out)
                without_gain = 0 if evaluated < best else without_gain + 1
                over = over or without_gain == settings.patience
                if evaluated < best:
                    best, adapter = evaluated, trainer.mean_adapter()
            latest = Progress(step, time.monotonic() - begun, loss, evaluated, latest.base, best, adapter)
            yield latest


class _Trainer:
    """An adapter that is being trained.

    Everything runs in threads of its own, because whoever iterates may come from another thread each
    time, with gradients off.
    """

    @run_in_thread
    def __init__(
        self,
        palm: PaLM,
        tokenizer: BundledTokenizer,
        ids: Sequence[int],
        context: int,
        settings: FinetuningConfig,
        computation: Computation,
    ):
        self.computation = computation
        self.palm, self.tokenizer, self.context, self.settings = palm, tokenizer, context, settings
        self.ids = torch.tensor(ids, dtype=torch.long)
        self.unlearned = torch.tensor(tokenizer.suppress_ids())
        random = torch.Generator().manual_seed(settings.seed)
        self.adapter = palm.new_adapter(settings.rank, random).float()
        self.mean = AveragedModel(self.adapter, avg_fn=_update_mean)
        self.weights = list(self.adapter.parameters())
        self.optimizer = torch.optim.AdamW(
            self.weights, settings.learning_rate, betas=(0.9, 0.98), weight_decay=0.0
        )

    @run_in_thread
    def step(self, number: int) -> float:
        """Trains on fresh windows and returns the loss."""
        ids, labels = self._windows(number)
        with self.computation.turn():
            return self._train_on(number, ids, labels)

    def _train_on(self, number: int, ids: Tensor, labels: Tensor) -> float:
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=_is_faster_in_bf16(ids.device)):
            loss = self.palm.loss(ids, labels, [self.adapter] * len(ids))
        if not loss.isfinite():
            raise FinetuningError(
                f"the loss was not a number any more at step {number + 1}, with a learning rate of "
                f"{self.settings.learning_rate:g}; try {self.settings.learning_rate / 3:.1g}"
            )
        # not `backward`, which would also leave gradients with the model where it is not frozen
        for weight, gradient in zip(self.weights, torch.autograd.grad(loss, self.weights), strict=True):
            weight.grad = gradient
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * min(1.0, (number + 1) / WARMUP_STEPS)
        self.optimizer.step()
        self.mean.update_parameters(self.adapter)
        return loss.item()

    @run_in_thread
    def evaluate(self, text: str) -> float:
        """Bits per byte of a text under the mean weights; infinite if the model's numbers are not finite."""
        text = text[:EVALUATED_CHARACTERS]
        try:
            with self.computation.going_on():
                return bits_per_byte(self.palm, self.tokenizer, text, self.mean.module, self.context)
        except NotFiniteError:
            return math.inf

    @run_in_thread
    def mean_adapter(self) -> Adapter:
        """A copy of the mean of the weights so far."""
        return deepcopy(self.mean.module).requires_grad_(False)

    def _windows(self, number: int) -> tuple[Tensor, Tensor]:
        """Windows from random places: (b, n) ids that begin with <bos>, as a prompt does, and the ids
        that follow."""
        random = Random(f"teaching/{self.settings.seed}/{number}")
        length = min(self.settings.window, self.context, len(self.ids))
        starts = [random.randrange(len(self.ids) - length + 1) for _ in range(self.settings.batch)]
        following = torch.stack([self.ids[start : start + length] for start in starts])
        first = torch.full((len(starts), 1), self.tokenizer.bos_id)
        labels = following.masked_fill(torch.isin(following, self.unlearned), IGNORED)
        device = self.weights[0].device
        return torch.cat([first, following[:, :-1]], dim=1).to(device), labels.to(device)


def _update_mean(mean: Tensor, weight: Tensor, steps: Tensor) -> Tensor:
    """Averages a weight in. `steps`: how many the mean has seen."""
    return mean.lerp(weight, (RECENCY + 1) / (int(steps) + 1 + RECENCY))


def _is_faster_in_bf16(device: torch.device) -> bool:
    return device.type != "cpu" or onednn_knows_bf16()
