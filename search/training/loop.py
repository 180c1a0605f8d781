"""The training loop: the same for super-networks and networks, whatever a step learns.

Everything random in step `n` (the batch, the sampled archs, dropout) is drawn from (seed, n) alone
and the learning rate is a function of `n`, so a checkpoint holds the weights, the optimiser, their
average and `n`, and a training that was interrupted and resumed ends with the weights of one that
was not. Several processes (`netadapt.search.ranks`) take equal parts of each batch; what is drawn
for its images is drawn for all of it, so that it does not depend on how many they are.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import get_num_threads, nn

from netadapt.search.errors import InvalidSettingError, TrainingDivergedError
from netadapt.search.ranks import Follower, Job, add_up_gradients, current
from netadapt.search.task import Samples
from netadapt.search.training.average import WeightAverage
from netadapt.search.training.checkpoint import Done, fingerprint, resume, save
from netadapt.search.training.compute import check_compiler
from netadapt.search.training.optimizers import make_optimizer
from netadapt.search.training.step import StepInput

if TYPE_CHECKING:
    from netadapt.search.task import Task
    from netadapt.search.training.settings import TrainingSettings
    from netadapt.search.training.step import Step

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Where a training stands after `step` of `steps` steps."""

    step: int
    steps: int
    loss: float
    """Of the last step."""
    learning_rate: float
    """Of the last step."""
    seconds_per_step: float
    seconds: float
    """Spent on this training so far, by those it resumes too; what a kill cost is not counted."""

    @property
    def remaining_s(self) -> float:
        return (self.steps - self.step) * self.seconds_per_step


ProgressCallback = Callable[[TrainingProgress], None]


def train(
    module: nn.Module,
    task: Task,
    settings: TrainingSettings,
    step: Step,
    *,
    seed: int,
    checkpoint: Path | None = None,
    on_progress: ProgressCallback | None = None,
    first_batch: int = 0,
) -> None:
    """Train `module` in place, where it is, and leave it in training mode.

    Parameters
    ----------
    seed: of batches' order in the task and of all that a step draws.
    checkpoint: where the training's state is kept; one that is there is resumed.
    on_progress: called after each step.
    first_batch: batches of the task that are passed over; 0 of a training with a checkpoint.

    Raises `TrainingDivergedError` when the loss is not finite, `CheckpointError` when `checkpoint`
    is there but belongs to another training, `RankLostError` when another process is gone, and
    `InvalidSettingError` when a batch has no equal parts for all, or nothing can be compiled here.
    """
    assert checkpoint is None or not first_batch, "a checkpoint knows its training from the start"
    ranks = current()
    settings = settings.in_steps(task.train_images)
    parts = settings.accumulate * ranks.count
    if settings.batch_size % parts:
        raise InvalidSettingError(
            f"{ranks.count} processes take equal parts of a batch, got {settings.batch_size} "
            f"images in {parts} parts; correct batch_size, accumulate or the processes"
        )
    if settings.compile:
        check_compiler(device_of(module))
    module.to(memory_format=layout_of(settings))  # type: ignore[call-overload]  # torch's stub lacks it
    optimizer = make_optimizer(module, settings)
    average = WeightAverage(module, settings.ema) if settings.ema else None
    kept = fingerprint(task, settings, step, seed)
    before = Done(0, 0.0)
    if checkpoint is not None and checkpoint.exists():
        before = resume(checkpoint, module, optimizer, kept, average)
        log.info("%s: resumed at step %d of %d", checkpoint, before.step, settings.steps)
    if ranks.leads:
        ranks.hand_out(
            TrainingJob(
                module,
                optimizer.state_dict(),
                settings,
                step,
                seed,
                before.step,
                get_num_threads(),
                first_batch,
            )
        )
    started = time.perf_counter()
    for number, (loss, learning_rate) in enumerate(
        _steps(module, optimizer, task, settings, step, seed, before.step, first_batch),
        before.step,
    ):
        if average is not None:
            average.update(module, number)
        seconds = time.perf_counter() - started
        done = Done(number + 1, before.seconds + seconds)
        last = done.step == settings.steps
        if checkpoint is not None and (last or done.step % settings.checkpoint_every_steps == 0):
            save(checkpoint, module, optimizer, kept, done, average)
        if on_progress is not None:
            on_progress(
                TrainingProgress(
                    step=done.step,
                    steps=settings.steps,
                    loss=loss,
                    learning_rate=learning_rate,
                    seconds_per_step=seconds / (done.step - before.step),
                    seconds=done.seconds,
                )
            )
    if average is not None:
        average.hand_over(module)


@dataclass(frozen=True, slots=True)
class TrainingJob(Job):
    """A training that other ranks take part in, as rank 0 has it at its start."""

    module: nn.Module
    optimizer: dict[str, Any]
    settings: TrainingSettings
    step: Step
    seed: int
    begin: int
    threads: int
    first_batch: int

    def follow(self, follower: Follower) -> None:
        """Train along; rank 0 keeps what comes of it."""
        torch.set_num_threads(self.threads)
        module = self.module.to(follower.device)
        optimizer = make_optimizer(module, self.settings)
        optimizer.load_state_dict(self.optimizer)
        for _ in _steps(
            module,
            optimizer,
            follower.task,
            self.settings,
            self.step,
            self.seed,
            self.begin,
            self.first_batch,
        ):
            pass


def _steps(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    task: Task,
    settings: TrainingSettings,
    step: Step,
    seed: int,
    begin: int,
    first_batch: int,
) -> Iterator[tuple[float, float]]:
    """Take the steps from `begin` on; yields the loss and the learning rate of each."""
    module.train()
    if settings.compile:
        # As in a fresh process: what others compiled before would change what is made of this one.
        torch.compiler.reset()
        module = cast("nn.Module", torch.compile(module, dynamic=False))
    for number in range(begin, settings.steps):
        learning_rate = settings.learning_rate_at(number)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        optimizer.zero_grad(set_to_none=True)
        loss = add_gradients(module, task, settings, step, seed, number, first_batch)
        optimizer.step()
        yield loss, learning_rate


def add_gradients(
    module: nn.Module,
    task: Task,
    settings: TrainingSettings,
    step: Step,
    seed: int,
    number: int,
    first_batch: int = 0,
) -> float:
    """Add up the gradients of step `number`, part by part and rank by rank; its loss.

    Its batch is the task's one of that number behind `first_batch`.

    Raises `TrainingDivergedError` when that is not finite.
    """
    device, ranks = device_of(module), current()
    parts, whole = settings.accumulate * ranks.count, 0.0
    mixed = settings.precision == "bf16"
    first = ranks.number * settings.accumulate
    for part in range(first, first + settings.accumulate):
        rng = np.random.default_rng((seed, number))
        place = (first_batch + number) * parts + part
        images = task.train_batch(place, settings.batch_size // parts)
        given = StepInput(
            module,
            task,
            placed(images, device, layout_of(settings)),
            settings.label_smoothing,
            rng,
            progress=number / settings.steps,
            part=(part, parts),
        )
        with (
            torch.random.fork_rng([device] if device.type == "cuda" else []),
            torch.autocast(device.type, torch.bfloat16, enabled=mixed),
        ):
            torch.manual_seed(int(rng.integers(2**63)) ^ part)
            loss = step(given) / parts
        whole += loss.item()
        torch.autograd.backward(loss)
    whole = add_up_gradients(module, whole, ranks)
    if not math.isfinite(whole):
        raise TrainingDivergedError(
            f"a training's loss stays finite, got {whole} at step {number + 1} of "
            f"{settings.steps}; lower the learning rate (now {settings.learning_rate:g})"
        )
    return whole


def layout_of(settings: TrainingSettings) -> torch.memory_format:
    """The memory layout of images and filters."""
    return torch.channels_last if settings.channels_last else torch.contiguous_format


def device_of(module: nn.Module) -> torch.device:
    """Where a module's parameters are; one without any is on the CPU."""
    first = next(module.parameters(), None)
    return torch.device("cpu") if first is None else first.device


def placed(batch: Samples, device: torch.device, layout: torch.memory_format) -> Samples:
    """`batch` on `device`, its images in the memory layout that the module has."""
    return Samples(batch.images.to(device, memory_format=layout), batch.targets.to(device))
