"""The training loop: interrupted, resumed, lengthened, and what it learns and leaves."""

import json
import random
from contextlib import suppress

import pytest
import torch

from palm_demo.models import PaLM
from palm_demo.models.layers import RLHF
from palm_demo.models.transformer import TransformerConfig
from palm_demo.training.loop import Intervals, Schedule, train
from palm_demo.training.palm import next_token_batch
from tests.disks import small_files

STEPS = 6
SCHEDULE = Schedule(STEPS, learning_rate=0.01, warmup=2)
ALWAYS = Intervals(checkpoint_seconds=-1, measure_steps=2)


class Interrupted(Exception):
    pass


def batch_at(step: int) -> dict[str, torch.Tensor]:
    rng = random.Random(step)
    return next_token_batch([[rng.randrange(48) for _ in range(9)] for _ in range(4)], {0})


def run(folder, stop_before: int = STEPS, schedule: Schedule = SCHEDULE, intervals: Intervals = ALWAYS):
    """A model trained in a folder, from a start of its own or from what the folder holds."""
    torch.manual_seed(1)
    palm = PaLM(TransformerConfig(dim=32, depth=2, heads=2, vocab=48, dim_head=16, ff_mult=2), RLHF)
    steps = []

    def losses_of(batch):
        if steps and steps[-1] + 1 == stop_before < STEPS:
            raise Interrupted
        steps.append(next(s for s in range(STEPS) if torch.equal(batch_at(s)["ids"], batch["ids"].cpu())))
        return {"text": palm.loss(batch["ids"], batch["labels"])}

    def measure():
        assert not palm.training and not torch.is_grad_enabled()
        return {"measured": 0.5}

    palm.steps = steps
    try:
        palm.figures = train(palm, batch_at, losses_of, measure, schedule, intervals, folder, loaders=0)
    except Interrupted:
        palm.figures = None
    return palm


def weights(palm: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: t.cpu().clone() for name, t in palm.state_dict().items()}


def same(one: dict, other: dict) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize("stop", [1, 3, 5])
def test_an_interrupted_and_resumed_run_gives_the_weights_of_an_unbroken_one(stop, tmp_path):
    unbroken = run(tmp_path / "unbroken")
    broken = run(tmp_path / "broken", stop_before=stop)
    assert broken.figures is None and not same(weights(broken), weights(unbroken))
    resumed = run(tmp_path / "broken")
    assert resumed.steps == list(range(stop, STEPS))
    assert same(weights(resumed), weights(unbroken))


@pytest.mark.slow
def test_a_resumed_run_remembers_what_batch_norm_has_seen(tmp_path):
    def run_until(steps: int, folder):
        torch.manual_seed(1)
        model = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.BatchNorm1d(4))
        schedule = Schedule(STEPS, learning_rate=0.01, warmup=2)

        def losses_of(batch):
            if losses_of.steps == steps:
                raise Interrupted
            losses_of.steps += 1
            return {"size": (model(batch["ids"].float()) - 1).abs().mean()}

        losses_of.steps = 0
        with suppress(Interrupted):
            train(model, batch_at, losses_of, dict, schedule, ALWAYS, folder, loaders=0)
        return model

    unbroken = run_until(STEPS, tmp_path / "unbroken")
    run_until(3, tmp_path / "broken")
    resumed = run_until(STEPS, tmp_path / "broken")
    assert same(weights(resumed), weights(unbroken))


def run_noisily(folder, stop_before: int = STEPS, steps: int = STEPS, average: float = 0.9):
    """Two matrices, one of them Muon's, which learn through noise, several batches a step."""
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Linear(16, 4))
    schedule = Schedule(steps, 0.01, warmup=2, muon_rate=0.02, average=average, accumulate=2)
    seen = []

    def losses_of(batch):
        if len(seen) == 2 * stop_before < 2 * steps:
            raise Interrupted
        seen.append(batch)
        noisy = batch["ids"].float() + torch.randn(batch["ids"].shape)
        return {"size": (model(noisy) - 1).square().mean()}

    with suppress(Interrupted):
        train(
            model, batch_at, losses_of, dict, schedule, ALWAYS, folder, loaders=0, matrices=[model[0].weight]
        )
    return model


@pytest.mark.slow
@pytest.mark.parametrize("stop", [1, 4])
def test_a_resumed_run_draws_the_noise_of_an_unbroken_one(stop, tmp_path):
    unbroken = run_noisily(tmp_path / "unbroken")
    run_noisily(tmp_path / "broken", stop_before=stop)
    torch.rand(3)  # what another process has drawn
    resumed = run_noisily(tmp_path / "broken")
    assert same(weights(resumed), weights(unbroken))


@pytest.mark.slow
def test_a_run_may_be_lengthened_before_its_rate_falls(tmp_path):
    long = run_noisily(tmp_path / "long", stop_before=2 * STEPS, steps=2 * STEPS)
    run_noisily(tmp_path / "lengthened", stop_before=3)
    lengthened = run_noisily(tmp_path / "lengthened", stop_before=2 * STEPS, steps=2 * STEPS)
    assert same(weights(lengthened), weights(long))


def test_the_averaged_weights_are_left_and_measured(tmp_path):
    plain, averaged = (run_noisily(tmp_path / str(a), average=a) for a in (0.0, 0.9))
    saved = torch.load(tmp_path / "0.9" / "state.pt", weights_only=True)
    assert same(saved["model"], weights(plain))
    assert same(saved["average"]["weights"], weights(averaged))
    assert not same(saved["model"], weights(averaged))


def test_the_log_tells_the_hours_of_all_sittings(tmp_path):
    run(tmp_path, stop_before=4)
    run(tmp_path)
    hours = [json.loads(line)["hours"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(hours) == 3 and hours == sorted(hours)


@pytest.mark.slow
def test_work_since_the_last_checkpoint_is_done_again_alike(tmp_path):
    unbroken = run(tmp_path / "unbroken")
    rare = Intervals(checkpoint_seconds=1e9, measure_steps=100)
    run(tmp_path / "broken", stop_before=2)
    lost = run(tmp_path / "broken", stop_before=5, intervals=rare)
    assert lost.steps == [2, 3, 4]
    resumed = run(tmp_path / "broken")
    assert resumed.steps == [2, 3, 4, 5]
    assert same(weights(resumed), weights(unbroken))


def test_a_checkpoint_for_which_there_is_no_room_is_told_and_the_one_before_is_kept(tmp_path):
    run(tmp_path, stop_before=3)
    before = (tmp_path / "state.pt").read_bytes()
    with small_files(20_000), pytest.raises(OSError, match="File too large"):
        run(tmp_path)
    assert (tmp_path / "state.pt").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} <= {"state.pt", "log.jsonl"}


def test_training_moves_the_weights_and_reports_the_last_figures(tmp_path):
    torch.manual_seed(1)
    palm = run(tmp_path)
    assert palm.figures == {"measured": 0.5}
    assert palm.steps == list(range(STEPS))
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == STEPS // 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.jsonl", "state.pt"]


def test_what_is_frozen_stays_as_it_was(tmp_path):
    torch.manual_seed(1)
    palm = PaLM(TransformerConfig(dim=32, depth=2, heads=2, vocab=48, dim_head=16, ff_mult=2), RLHF).freeze_()
    palm.add_scope("carroll", 2)
    before = weights(palm)
    train(
        palm,
        batch_at,
        lambda batch: {"text": palm.loss(batch["ids"], batch["labels"], ["carroll"] * 4)},
        dict,
        SCHEDULE,
        ALWAYS,
        tmp_path,
        loaders=0,
    )
    moved = {name for name, weight in weights(palm).items() if not torch.equal(weight, before[name])}
    assert moved == {name for name in before if name.startswith("scopes.")}


def test_a_run_that_was_over_leaves_the_averaged_weights_when_it_is_begun_again(tmp_path):
    finished = run_noisily(tmp_path)
    assert same(weights(run_noisily(tmp_path)), weights(finished))


def test_fewer_steps_than_a_run_has_behind_it_are_refused(tmp_path):
    run_noisily(tmp_path)
    with pytest.raises(ValueError, match="6 steps behind it, and 3 were asked for; ask for 6 or more"):
        run_noisily(tmp_path, stop_before=3, steps=3)


@pytest.mark.parametrize("other", [torch.nn.Linear(3, 3), torch.nn.Sequential(torch.nn.Linear(9, 16))])
def test_a_folder_of_another_models_run_is_refused(other, tmp_path):
    run_noisily(tmp_path)
    with pytest.raises(ValueError, match=r"of another model: its 0.weight is \(16, 8\); use a new folder"):
        train(other, batch_at, dict, dict, SCHEDULE, ALWAYS, tmp_path, loaders=0)


def test_the_rate_rises_stays_and_falls_to_nothing():
    schedule = Schedule(steps=100, learning_rate=1.0, warmup=10, decay=0.2)
    rates = [schedule.rate(step) for step in range(101)]
    assert rates[:10] == sorted(rates[:10]) and 0 < rates[0] < rates[9]
    assert set(rates[9:81]) == {1.0}
    assert rates[80:] == sorted(rates[80:], reverse=True) and rates[100] == 0


def test_a_rate_without_a_decay_never_falls():
    schedule = Schedule(steps=100, learning_rate=1.0, warmup=10, decay=0.0)
    assert {schedule.rate(step) for step in range(9, 100)} == {1.0}
