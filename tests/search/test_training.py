"""Training on toy sizes: resume is exact, settings and files are checked, it does learn."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from netadapt.search.errors import CheckpointError, InvalidSettingError, TrainingDivergedError
from netadapt.search.space import Space
from netadapt.search.task import one_batch
from netadapt.search.tasks.digits import ClutteredDigits
from netadapt.search.tasks.settings import Clutter, DigitsSettings
from netadapt.search.training import (
    OrderedDropoutSettings,
    OrderedDropoutStep,
    TrainingProgress,
    TrainingSettings,
    reestimate_norms,
    train_network,
    train_supernet,
)
from netadapt.search.training.settings import KernelPer
from tests.killed import Child, Say

SETTINGS = TrainingSettings(
    steps=8, batch_size=8, warmup_steps=2, checkpoint_every_steps=3, norm_batches=2
)


class Stop(Exception):
    """Raised by a progress callback: the training is cut off here."""


def stop_after(step: int) -> Callable[[TrainingProgress], None]:
    def callback(progress: TrainingProgress) -> None:
        if progress.step == step:
            raise Stop

    return callback


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def task() -> ClutteredDigits:
    return ClutteredDigits(DigitsSettings(train_images=50))  # 8 steps of 8 images cross an epoch


def toy_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2),
        nn.BatchNorm2d(8, momentum=0.01),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(8 * 11 * 11, 10),
    )


def assert_same_weights(one: nn.Module, other: nn.Module) -> None:
    state, expected = one.state_dict(), other.state_dict()
    assert state.keys() == expected.keys()
    for name, value in state.items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("killed_after", [3, 5])
def test_a_resumed_training_equals_an_uninterrupted_one(
    task: ClutteredDigits, tmp_path: Path, optimizer: str, killed_after: int
) -> None:
    settings = replace(SETTINGS, optimizer=optimizer)
    uninterrupted, interrupted, resumed = toy_network(), toy_network(), toy_network()
    train_network(uninterrupted, task, settings, seed=0)
    path = tmp_path / "network.pt"
    with pytest.raises(Stop):
        train_network(
            interrupted,
            task,
            settings,
            seed=0,
            checkpoint=path,
            on_progress=stop_after(killed_after),
        )
    steps: list[int] = []
    train_network(
        resumed,
        task,
        settings,
        seed=0,
        checkpoint=path,
        on_progress=lambda p: steps.append(p.step),
    )
    assert steps == [4, 5, 6, 7, 8]  # the checkpoint of step 3
    assert_same_weights(uninterrupted, resumed)
    assert [file.name for file in tmp_path.iterdir()] == ["network.pt"]


@pytest.mark.parametrize("kernel_per", ["image", "step"])
def test_a_resumed_supernet_equals_an_uninterrupted_one(
    task: ClutteredDigits, tmp_path: Path, kernel_per: KernelPer
) -> None:
    space = Space.load("digits")
    settings = replace(SETTINGS, steps=4, batch_size=4, checkpoint_every_steps=2)
    step = OrderedDropoutStep.of(OrderedDropoutSettings(kernel_per), space)
    uninterrupted, interrupted, resumed = (
        space.supernetwork(generator=torch.Generator().manual_seed(0)) for _ in range(3)
    )
    start = copy.deepcopy(uninterrupted)
    train_supernet(uninterrupted, task, settings, step, seed=0)
    path = tmp_path / "supernet.pt"
    with pytest.raises(Stop):
        train_supernet(
            interrupted, task, settings, step, seed=0, checkpoint=path, on_progress=stop_after(3)
        )
    train_supernet(resumed, task, settings, step, seed=0, checkpoint=path)
    assert_same_weights(uninterrupted, resumed)
    with pytest.raises(AssertionError):
        assert_same_weights(uninterrupted, start)


def test_a_finished_training_is_not_repeated(task: ClutteredDigits, tmp_path: Path) -> None:
    trained, again = toy_network(), toy_network()
    path = tmp_path / "network.pt"
    train_network(trained, task, SETTINGS, seed=0, checkpoint=path)
    train_network(again, task, SETTINGS, seed=0, checkpoint=path, on_progress=stop_after(8))
    assert_same_weights(trained, again)


def test_global_random_state_neither_matters_nor_changes(task: ClutteredDigits) -> None:
    one, other = toy_network(), toy_network()
    train_network(one, task, SETTINGS, seed=0)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    train_network(other, task, SETTINGS, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    assert_same_weights(one, other)


def test_seed_changes_the_training(task: ClutteredDigits) -> None:
    one, other = toy_network(), toy_network()
    train_network(one, task, SETTINGS, seed=0)
    train_network(other, task, SETTINGS, seed=1)  # another dropout
    assert not torch.equal(one[0].weight, other[0].weight)


def test_training_learns_and_reports_progress() -> None:
    easy = ClutteredDigits(
        DigitsSettings(clutter=Clutter(rotation_deg=0, min_size_px=16, distractors=0, noise=0.1))
    )
    reports: list[TrainingProgress] = []
    settings = TrainingSettings(steps=60, batch_size=32, warmup_steps=5, learning_rate=0.05)
    network = toy_network()
    train_network(network, easy, settings, seed=0, on_progress=reports.append)
    assert [report.step for report in reports] == list(range(1, 61))
    assert all(report.steps == 60 and report.seconds_per_step > 0 for report in reports)
    assert reports[0].remaining_s == pytest.approx(59 * reports[0].seconds_per_step)
    assert reports[-1].remaining_s == 0
    assert np.mean([r.loss for r in reports[-10:]]) < 0.8 * np.mean([r.loss for r in reports[:10]])
    assert not network.training


def test_learning_rate_warms_up_and_falls_to_zero() -> None:
    settings = TrainingSettings(steps=110, warmup_steps=10, learning_rate=1.0)
    rates = [settings.learning_rate_at(step) for step in range(111)]
    assert rates[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert rates[60] == pytest.approx(0.5)
    assert rates[110] == pytest.approx(0, abs=1e-12)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_a_learning_rate_may_fall_linearly_or_stay() -> None:
    settings = TrainingSettings(steps=110, warmup_steps=10, learning_rate=1.0, schedule="linear")
    assert settings.learning_rate_at(60) == pytest.approx(0.5)
    assert settings.learning_rate_at(85) == pytest.approx(0.25)
    assert replace(settings, schedule="constant").learning_rate_at(109) == 1.0


def test_norms_become_the_mean_over_the_images(task: ClutteredDigits) -> None:
    network = toy_network()
    images = one_batch(task.calibration(64, 16)).images
    reestimate_norms(network, task.calibration(64, 16))
    conv, norm = network[0], network[1]
    batches = [conv(batch) for batch in images.split(16)]
    mean = torch.stack([y.mean((0, 2, 3)) for y in batches]).mean(0)
    variance = torch.stack([y.transpose(0, 1).flatten(1).var(1) for y in batches]).mean(0)
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, variance)
    assert norm.momentum == 0.01
    assert network.training


def test_a_diverging_training_stops_with_one_clear_line(task: ClutteredDigits) -> None:
    network = toy_network()
    with torch.no_grad():
        network[5].bias.fill_(float("nan"))
    with pytest.raises(TrainingDivergedError, match=r"nan at step 1 of 8; lower the learning rate"):
        train_network(network, task, SETTINGS, seed=0)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"steps": 0}, "steps"),
        ({"learning_rate": float("nan")}, "nan"),
        ({"warmup_steps": 8}, "8 of 8"),
        ({"optimizer": "lion"}, "'lion'"),
        ({"schedule": "never"}, "cosine, linear, constant, exponential, got 'never'"),
        ({"momentum": 1.0}, "momentum"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, object], word: str) -> None:
    with pytest.raises(InvalidSettingError, match=word) as caught:
        replace(SETTINGS, **change)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_another_recipe_is_refused(task: ClutteredDigits, tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    train_network(toy_network(), task, SETTINGS, seed=0, checkpoint=path)
    other = replace(SETTINGS, learning_rate=1e-4)
    with pytest.raises(CheckpointError, match="differs in learning_rate, seed"):
        train_network(toy_network(), task, other, seed=2, checkpoint=path)
    with pytest.raises(CheckpointError, match="task_seed"):
        train_network(toy_network(), ClutteredDigits(seed=1), SETTINGS, seed=0, checkpoint=path)
    # How often it is written, and what is done after training, may change.
    train_network(
        toy_network(), task, replace(SETTINGS, checkpoint_every_steps=1), seed=0, checkpoint=path
    )


def test_a_checkpoint_of_another_network_is_refused(task: ClutteredDigits, tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    train_network(toy_network(), task, SETTINGS, seed=0, checkpoint=path)
    with pytest.raises(CheckpointError, match="holds another"):
        train_network(nn.Linear(3, 3), task, SETTINGS, seed=0, checkpoint=path)


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], bytes.upper])
def test_a_damaged_checkpoint_is_named(
    task: ClutteredDigits, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "network.pt"
    train_network(toy_network(), task, SETTINGS, seed=0, checkpoint=path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"network\.pt .*delete it"):
        train_network(toy_network(), task, SETTINGS, seed=0, checkpoint=path)


def train_for_long(say: Say, checkpoint: Path) -> None:
    """A training in a process of its own, kept after every step."""
    train_network(
        toy_network(),
        ClutteredDigits(DigitsSettings(train_images=50)),
        replace(SETTINGS, steps=100_000, checkpoint_every_steps=1),
        seed=0,
        checkpoint=checkpoint,
        on_progress=lambda progress: say(progress.step),
    )


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(
    task: ClutteredDigits, tmp_path: Path
) -> None:
    path = tmp_path / "network.pt"
    child = Child(train_for_long, path)
    for _ in range(5):
        child.told()
    time.sleep(np.random.default_rng().uniform(0, 0.05))
    last = child.kill()[-1:] or [5]
    assert not child.finished
    steps: list[int] = []

    def note_and_stop(progress: TrainingProgress) -> None:
        steps.append(progress.step)
        raise Stop

    with pytest.raises(Stop):
        train_network(
            toy_network(),
            task,
            replace(SETTINGS, steps=100_000),
            seed=0,
            checkpoint=path,
            on_progress=note_and_stop,
        )
    assert steps[0] - 1 in (last[0], last[0] + 1)
