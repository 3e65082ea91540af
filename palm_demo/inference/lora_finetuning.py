"""Teaching a scope: an adapter learns a text here and now, while the model and all who use it go on."""

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
"""About two pages; from less, a tenth to judge by says nothing."""

JUDGED_CHARACTERS = 12_000
"""As much as is read of the part to judge by, so that judging takes no longer than learning."""

WARMUP_STEPS = 10
RECENCY = 8
"""What is judged and kept is a mean of the weights of all steps, the latest ninth of them weighing most
(Shamir and Zhang 2013, section 4). It is as good as if the rate had fallen to nothing by then, at every
step, so nobody need know when the teaching will end."""


@dataclass(frozen=True)
class Progress:
    """Where a teaching stands. loss: nats a token of the step's batch, None before the first step.
    bits_per_byte: of the text to judge by, where this step was judged. base, best: the same before
    the first step and at its lowest. adapter: the best so far, which nothing changes any more."""

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
    """Teaches a fresh adapter a text, judged by the text's last tenth: Progress after each step, the first
    before any, the last judged. The same settings give the same adapter after the same number of steps.

    The model's own weights and scopes stay as they are. stopped: once set, the teaching ends. turns: where
    each step waits for its turn. Raises
    TeachingError at once where the text is too short, and later when the loss is no number any more.
    """
    to_read, to_judge = parted(text)
    ids = tokenizer.encode(to_read)
    if len(ids) < FEWEST_TOKENS * 9 // 10:
        raise FinetuningError(
            f"the text has about {len(ids) * 10 // 9:,} tokens and {FEWEST_TOKENS:,} are needed, which is "
            "two pages; give more of it"
        )
    return _learn(palm, tokenizer, ids, to_judge, context, settings, cancelled, turns or FairQueue())


def parted(text: str) -> tuple[str, str]:
    """The text to learn from and, from a word's beginning on, its last tenth to judge by, white space
    at its end aside."""
    said = text.rstrip()
    cut = len(said) * 9 // 10
    cut += len(said[cut:]) - len(said[cut:].lstrip())
    while cut > 0 and not text[cut - 1].isspace():
        cut -= 1
    return text[:cut], text[cut:]


def _learn(
    palm: PaLM,
    tokenizer: BundledTokenizer,
    ids: Sequence[int],
    to_judge: str,
    context: int,
    settings: FinetuningConfig,
    cancelled: threading.Event | None,
    turns: FairQueue,
) -> Iterator[Progress]:
    begun = time.monotonic()
    with turns.computation() as computation:
        pupil = _Pupil(palm, tokenizer, ids, context, settings, computation)
        judged = pupil.judge(to_judge)
        latest = Progress(0, 0.0, None, judged, judged, judged, pupil.mean_adapter())
        yield latest
        step = in_vain = 0
        over = False
        while not over:
            loss = pupil.step(step)
            step += 1
            seconds = time.monotonic() - begun
            over = step == settings.steps or seconds >= settings.seconds
            over = over or (cancelled is not None and cancelled.is_set())
            judged, best, adapter = None, latest.best, latest.adapter
            if over or step % settings.judge_steps == 0:
                judged = pupil.judge(to_judge)
                in_vain = 0 if judged < best else in_vain + 1
                over = over or in_vain == settings.patience
                if judged < best:
                    best, adapter = judged, pupil.mean_adapter()
            latest = Progress(step, time.monotonic() - begun, loss, judged, latest.base, best, adapter)
            yield latest


class _Pupil:
    """An adapter in the making. All it does runs in threads of its own: whoever iterates may come from
    another thread each time, with gradients off."""

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
        self.mean = AveragedModel(self.adapter, avg_fn=_mean_of_the_latest)
        self.weights = list(self.adapter.parameters())
        self.optimizer = torch.optim.AdamW(
            self.weights, settings.learning_rate, betas=(0.9, 0.98), weight_decay=0.0
        )

    @run_in_thread
    def step(self, number: int) -> float:
        """One step on fresh windows; its loss."""
        ids, labels = self._windows(number)
        with self.computation.turn():
            return self._learned(number, ids, labels)

    def _learned(self, number: int, ids: Tensor, labels: Tensor) -> float:
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=_quicker_in_bf16(ids.device)):
            loss = self.palm.loss(ids, labels, [self.adapter] * len(ids))
        if not loss.isfinite():
            raise FinetuningError(
                f"the loss was no number any more at step {number + 1}, with a learning rate of "
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
    def judge(self, text: str) -> float:
        """Bits per byte of a text under the mean; infinitely many where that is out of range."""
        text = text[:JUDGED_CHARACTERS]
        try:
            with self.computation.going_on():
                return bits_per_byte(self.palm, self.tokenizer, text, self.mean.module, self.context)
        except NotFiniteError:
            return math.inf

    @run_in_thread
    def mean_adapter(self) -> Adapter:
        return deepcopy(self.mean.module).requires_grad_(False)

    def _windows(self, number: int) -> tuple[Tensor, Tensor]:
        """(b, n) ids, <bos> first, as a prompt begins, and the ids that follow, from random places."""
        random = Random(f"teaching/{self.settings.seed}/{number}")
        length = min(self.settings.window, self.context, len(self.ids))
        starts = [random.randrange(len(self.ids) - length + 1) for _ in range(self.settings.batch)]
        following = torch.stack([self.ids[start : start + length] for start in starts])
        first = torch.full((len(starts), 1), self.tokenizer.bos_id)
        labels = following.masked_fill(torch.isin(following, self.unlearned), IGNORED)
        device = self.weights[0].device
        return torch.cat([first, following[:, :-1]], dim=1).to(device), labels.to(device)


def _mean_of_the_latest(mean: Tensor, weight: Tensor, steps: Tensor) -> Tensor:
    """steps: how many the mean has seen."""
    return mean.lerp(weight, (RECENCY + 1) / (int(steps) + 1 + RECENCY))


def _quicker_in_bf16(device: torch.device) -> bool:
    return device.type != "cpu" or onednn_knows_bf16()
