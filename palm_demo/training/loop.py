"""The training loop of every recipe: autocast, schedule, progress, checkpoints, exact resume.

Batches are a function of the step number, so a resumed run sees what an unbroken one would have.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Schedule:
    """steps: optimizer steps in all. The rate rises over `warmup` steps, stays, and falls
    linearly to nothing over the last `decay` part of them."""

    steps: int
    learning_rate: float
    warmup: int = 200
    decay: float = 0.35
    weight_decay: float = 0.05

    def rate(self, step: int) -> float:
        """The learning rate's factor at a step, 0 to 1."""
        rising = (step + 1) / self.warmup
        falling = (self.steps - step) / (self.steps * self.decay)
        return max(0.0, min(1.0, rising, falling))


@dataclass(frozen=True)
class Intervals:
    """Seconds between checkpoints, steps between held-out measurements."""

    checkpoint_seconds: float = 180.0
    measure_steps: int = 500


class Steps(Dataset):
    """Step number -> batch."""

    def __init__(self, batch_at: Callable[[int], Batch], steps: int):
        self.batch_at, self.steps = batch_at, steps

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        return self.batch_at(step)


def train(
    model: nn.Module,
    batch_at: Callable[[int], Batch],
    losses_of: Callable[[Batch], dict[str, Tensor]],
    measure: Callable[[], dict[str, float]],
    schedule: Schedule,
    intervals: Intervals,
    folder: Path,
    loaders: int = 1,
) -> dict[str, float]:
    """Trains what requires a gradient, minimising the sum of the losses; returns the last figures.

    folder: checkpoints and `log.jsonl`; a run found there goes on from its last checkpoint.
    """
    accelerator = Accelerator(mixed_precision="bf16", cpu=not torch.cuda.is_available())
    model.to(accelerator.device)
    optimizer = torch.optim.AdamW(
        _groups(model, schedule.weight_decay), lr=schedule.learning_rate, betas=(0.9, 0.98)
    )
    # The model itself stays unwrapped: recipes call its parts, not one `forward`.
    optimizer = accelerator.prepare_optimizer(optimizer)
    start = _resume(model, optimizer, folder)
    if start == schedule.steps:
        return _measured(model, measure)
    loader = DataLoader(
        Steps(batch_at, schedule.steps),
        batch_size=None,
        sampler=range(start, schedule.steps),
        num_workers=loaders,
        prefetch_factor=4 if loaders else None,
    )
    figures: dict[str, float] = {}
    saved_at = time.monotonic()
    model.train()
    progress = tqdm(loader, initial=start, total=schedule.steps, mininterval=5, unit="step")
    for step, batch in enumerate(progress, start=start):
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate * schedule.rate(step)
        batch = beside(model, batch)
        with accelerator.autocast():
            losses = losses_of(batch)
        accelerator.backward(torch.stack(list(losses.values())).sum())
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        shown = {name: f"{loss.item():.3f}" for name, loss in losses.items()}
        progress.set_postfix(shown, refresh=False)
        last = step + 1 == schedule.steps
        if last or (step + 1) % intervals.measure_steps == 0:
            figures = _measured(model, measure)
            _log(folder, {"step": step + 1, **shown, **figures})
            progress.write(f"step {step + 1}: {shown} {figures}")
        if last or time.monotonic() - saved_at > intervals.checkpoint_seconds:
            _save(model, optimizer, folder, step + 1, schedule)
            saved_at = time.monotonic()
    return figures


def beside(model: nn.Module, batch: Batch) -> Batch:
    """The batch on the model's device."""
    device = next(model.parameters()).device
    return {name: t.to(device) for name, t in batch.items()}


def _groups(model: nn.Module, weight_decay: float) -> Sequence[dict]:
    """Weight decay for matrices, none for gains, gates and other vectors."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]


def _measured(model: nn.Module, measure: Callable[[], dict[str, float]]) -> dict[str, float]:
    model.eval()
    with torch.no_grad():
        figures = measure()
    model.train()
    return {name: round(value, 4) for name, value in figures.items()}


def _save(model: nn.Module, optimizer, folder: Path, step: int, schedule: Schedule) -> None:
    """All at once or not at all: written beside, then renamed. Buffers too: what batch norm has seen."""
    folder.mkdir(parents=True, exist_ok=True)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    weights = {name: t for name, t in model.state_dict().items() if name not in frozen}
    state = {
        "step": step,
        "schedule": asdict(schedule),
        "model": weights,
        "optimizer": optimizer.state_dict(),
    }
    torch.save(state, folder / "state.tmp")
    (folder / "state.tmp").replace(folder / "state.pt")


def _resume(model: nn.Module, optimizer, folder: Path) -> int:
    path = folder / "state.pt"
    if not path.is_file():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    unexpected = model.load_state_dict(state["model"], strict=False).unexpected_keys
    if unexpected:
        raise ValueError(f"{path} is of another model: it has {unexpected[0]}; use a new folder")
    optimizer.load_state_dict(state["optimizer"])
    return state["step"]


def _log(folder: Path, record: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")
