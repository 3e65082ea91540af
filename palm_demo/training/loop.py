"""The training loop of every recipe: autocast, schedule, progress, checkpoints, exact resume.

A batch is a function of its step number, and the state of torch's random numbers is saved, so a
resumed run sees and draws what an unbroken one would have.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from palm_demo.checkpoints import written_whole
from palm_demo.errors import CheckpointError
from palm_demo.training.muon import Muon, fastest_precision

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Schedule:
    """Learning rates and the number of steps.

    The rate rises over `warmup` steps, stays, and falls linearly to zero over the last `decay` part of
    the steps, or never where that is 0. Until it falls, a run may be resumed with more or fewer steps,
    as if it had begun with them.

    Attributes:
        steps: optimizer steps in all.
        learning_rate: of AdamW.
        muon_rate: of the matrices that Muon trains (Jordan et al. 2024), where a recipe names some.
        average: decay of the moving average of the weights, 0 for none. The averaged weights are
            measured, and are those of the model at the end.
        accumulate: batches per step.
    """

    steps: int
    learning_rate: float
    warmup: int = 200
    decay: float = 0.35
    weight_decay: float = 0.05
    muon_rate: float = 0.0
    average: float = 0.0
    accumulate: int = 1

    def rate(self, step: int) -> float:
        """The factor on the learning rate at a step, 0 to 1."""
        rising = (step + 1) / self.warmup
        falling = (self.steps - step) / (self.steps * self.decay) if self.decay else 1.0
        return max(0.0, min(1.0, rising, falling))


@dataclass(frozen=True)
class Intervals:
    """Seconds between checkpoints, and steps between measurements on held-out data."""

    checkpoint_seconds: float = 180.0
    measure_steps: int = 500


class Steps(Dataset):
    """A data set that gives the batch of a step number."""

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
    matrices: Sequence[nn.Parameter] = (),
) -> dict[str, float]:
    """Trains all parameters that require a gradient. The loss is the sum of `losses_of`.

    Args:
        model: the model.
        batch_at: the batch of a step number.
        losses_of: the losses of a batch, by name.
        measure: figures on held-out data, by name.
        schedule: learning rates and the number of steps.
        intervals: between two checkpoints, and between two measurements.
        folder: for checkpoints and `log.jsonl`, which has the hours of training at each measurement. A
            run found there continues from its last checkpoint.
        loaders: processes that make batches.
        matrices: parameters that Muon trains.

    Returns the last figures. Raises CheckpointError when the run in the folder is of another model, or has
    more steps behind it than are asked for.
    """
    precision = fastest_precision()
    mixed = "bf16" if precision == torch.bfloat16 else "no"
    accelerator = Accelerator(mixed_precision=mixed, cpu=not torch.cuda.is_available())
    model.to(accelerator.device)
    # The model itself stays unwrapped: recipes call its parts, not one `forward`.
    optimizers = [accelerator.prepare_optimizer(o) for o in _optimizers(model, matrices, schedule, precision)]
    rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    average = MovingAverage(model, schedule.average) if schedule.average else None
    start, seconds = _resume(model, optimizers, average, folder)
    if start > schedule.steps:
        raise CheckpointError(
            f"the run in {folder} has {start} steps behind it, and {schedule.steps} were asked for; ask for "
            f"{start} or more, or use a new folder"
        )
    if start == schedule.steps:
        if average is not None:
            average.put_into(model)
        return _measured(model, None, measure)
    many = schedule.accumulate
    loader = DataLoader(
        Steps(batch_at, schedule.steps * many),
        batch_size=None,
        sampler=range(start * many, schedule.steps * many),
        num_workers=loaders,
        prefetch_factor=4 if loaders else None,
        generator=torch.Generator(),  # draws a seed for its workers: not from what is resumed exactly
    )
    figures: dict[str, float] = {}
    begun = saved_at = time.monotonic()
    model.train()
    batches = iter(loader)
    progress = tqdm(
        range(start, schedule.steps), initial=start, total=schedule.steps, mininterval=5, unit="step"
    )
    for step in progress:
        for optimizer, own in zip(optimizers, rates, strict=True):
            for group, rate in zip(optimizer.param_groups, own, strict=True):
                group["lr"] = rate * schedule.rate(step)
        sums: dict[str, float] = {}
        for _ in range(many):
            batch = to_device(model, next(batches))
            with accelerator.autocast():
                losses = losses_of(batch)
            accelerator.backward(torch.stack(list(losses.values())).sum() / many)
            for name, loss in losses.items():
                sums[name] = sums.get(name, 0.0) + loss.item() / many
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if average is not None:
            average.update(model)
        shown = {name: f"{loss:.3f}" for name, loss in sums.items()}
        progress.set_postfix(shown, refresh=False)
        last = step + 1 == schedule.steps
        if last or (step + 1) % intervals.measure_steps == 0:
            figures = _measured(model, average, measure)
            hours = (seconds + time.monotonic() - begun) / 3600
            _log(folder, {"step": step + 1, "hours": round(hours, 3), **shown, **figures})
            progress.write(f"step {step + 1}: {shown} {figures}")
        if last or time.monotonic() - saved_at > intervals.checkpoint_seconds:
            spent = seconds + time.monotonic() - begun
            _save(model, optimizers, average, folder, step + 1, spent, schedule)
            saved_at = time.monotonic()
    if average is not None:
        average.put_into(model)
    return figures


class MovingAverage:
    """An exponential moving average of a model's trained weights, which helps as a decayed rate does."""

    def __init__(self, model: nn.Module, decay: float):
        self.decay, self.updates = decay, 0
        self.weights = {name: p.detach().clone() for name, p in _trained(model).items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Adds the model's weights to the average. The decay begins small, so that the weights of the first
        steps are soon forgotten."""
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 10))
        trained = _trained(model)
        for name, average in self.weights.items():
            average.lerp_(trained[name], 1 - decay)

    @torch.no_grad()
    def put_into(self, model: nn.Module) -> None:
        """Copies the averaged weights into the model."""
        for name, weight in _trained(model).items():
            weight.copy_(self.weights[name])

    @contextmanager
    def in_place_of(self, model: nn.Module) -> Iterator[None]:
        """Gives the model the averaged weights inside the `with`."""
        own = {name: p.detach().clone() for name, p in _trained(model).items()}
        self.put_into(model)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, weight in _trained(model).items():
                    weight.copy_(own[name])


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def to_device(model: nn.Module, batch: Batch) -> Batch:
    """Moves a batch to the model's device."""
    device = next(model.parameters()).device
    return {name: t.to(device) for name, t in batch.items()}


def _optimizers(
    model: nn.Module, matrices: Sequence[nn.Parameter], schedule: Schedule, precision: torch.dtype
) -> list[torch.optim.Optimizer]:
    """AdamW, with weight decay for matrices but not for gains, gates and other vectors; and Muon for
    `matrices`."""
    named = {id(p) for p in matrices}
    rest = [p for p in _trained(model).values() if id(p) not in named]
    groups = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": schedule.weight_decay},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=schedule.learning_rate, betas=(0.9, 0.98))
    ]
    if matrices:
        optimizers.append(Muon(matrices, schedule.muon_rate, schedule.weight_decay, precision))
    return optimizers


def _measured(
    model: nn.Module, average: MovingAverage | None, measure: Callable[[], dict[str, float]]
) -> dict[str, float]:
    model.eval()
    with torch.no_grad(), average.in_place_of(model) if average is not None else nullcontext():
        figures = measure()
    model.train()
    return {name: round(value, 4) for name, value in figures.items()}


def _save(
    model: nn.Module,
    optimizers: Sequence,
    average: MovingAverage | None,
    folder: Path,
    step: int,
    seconds: float,
    schedule: Schedule,
) -> None:
    """Saves a checkpoint completely or not at all, with buffers such as batch norm's statistics.

    Raises OSError where the disk is full; then the checkpoint before is kept.
    """
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    weights = {name: t for name, t in model.state_dict().items() if name not in frozen}
    state = {
        "step": step,
        "seconds": seconds,
        "schedule": asdict(schedule),
        "model": weights,
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    if average is not None:
        state["average"] = {"updates": average.updates, "weights": average.weights}
    with written_whole(folder / "state.pt") as partial, partial.open("wb") as file:
        torch.save(state, file)


def _resume(
    model: nn.Module, optimizers: Sequence, average: MovingAverage | None, folder: Path
) -> tuple[int, float]:
    """Loads the checkpoint in `folder`, if there is one. Returns the steps and seconds behind it."""
    path = folder / "state.pt"
    if not path.is_file():
        return 0, 0.0
    state = torch.load(path, map_location="cpu", weights_only=True)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    for name, tensor in state["model"].items():
        if shapes.get(name) != tensor.shape:
            raise CheckpointError(
                f"{path} is of another model: its {name} is {tuple(tensor.shape)}; use a new folder"
            )
    model.load_state_dict(state["model"], strict=False)
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    if average is not None:
        average.updates = state["average"]["updates"]
        for name, weight in average.weights.items():
            weight.copy_(state["average"]["weights"][name])
    torch.set_rng_state(state["random"])
    if torch.cuda.is_available() and state["random_cuda"]:
        torch.cuda.set_rng_state_all(state["random_cuda"])
    return state["step"], state["seconds"]


def _log(folder: Path, record: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")
