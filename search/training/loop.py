"""The training loop: the same for super-networks and networks, whatever a step learns.

Everything random in step `n` (the batch, the sampled archs, dropout) is drawn from (seed, n) alone
and the learning rate is a function of `n`, so a checkpoint holds the weights, the optimiser, their
average and `n`, and a training that was interrupted and resumed ends with the weights of one that
was not.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from netadapt.search.errors import TrainingDivergedError
from netadapt.search.task import Samples
from netadapt.search.training.average import WeightAverage
from netadapt.search.training.checkpoint import Done, fingerprint, resume, save
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
) -> None:
    """Train `module` in place, where it is, and leave it in training mode.

    Parameters
    ----------
    seed: of batches' order in the task and of all that a step draws.
    checkpoint: where the training's state is kept; one that is there is resumed.
    on_progress: called after each step.

    Raises `TrainingDivergedError` when the loss is not finite, `CheckpointError` when `checkpoint`
    is there but belongs to another training.
    """
    module.to(memory_format=_layout(settings))  # type: ignore[call-overload]  # torch's stub lacks it
    optimizer = make_optimizer(module, settings)
    average = WeightAverage(module, settings.ema) if settings.ema else None
    kept = fingerprint(task, settings, step, seed)
    before = Done(0, 0.0)
    if checkpoint is not None and checkpoint.exists():
        before = resume(checkpoint, module, optimizer, kept, average)
        log.info("%s: resumed at step %d of %d", checkpoint, before.step, settings.steps)
    module.train()
    started = time.perf_counter()
    for number in range(before.step, settings.steps):
        learning_rate = settings.learning_rate_at(number)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        optimizer.zero_grad(set_to_none=True)
        loss = _gradients(module, task, settings, step, seed, number)
        optimizer.step()
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


def _gradients(
    module: nn.Module, task: Task, settings: TrainingSettings, step: Step, seed: int, number: int
) -> float:
    """Add up the gradients of step `number`, part by part; its loss."""
    device = device_of(module)
    parts, whole = settings.accumulate, 0.0
    mixed = settings.precision == "bf16"
    for part in range(parts):
        rng = np.random.default_rng((seed, number))
        images = task.train_batch(number * parts + part, settings.batch_size // parts)
        given = StepInput(
            module,
            task,
            placed(images, device, _layout(settings)),
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
        if not math.isfinite(whole):
            raise TrainingDivergedError(
                f"a training's loss stays finite, got {whole} at step {number + 1} of "
                f"{settings.steps}; lower the learning rate (now {settings.learning_rate:g})"
            )
        torch.autograd.backward(loss)
    return whole


def _layout(settings: TrainingSettings) -> torch.memory_format:
    return torch.channels_last if settings.channels_last else torch.contiguous_format


def device_of(module: nn.Module) -> torch.device:
    """Where a module's parameters are; one without any is on the CPU."""
    first = next(module.parameters(), None)
    return torch.device("cpu") if first is None else first.device


def placed(batch: Samples, device: torch.device, layout: torch.memory_format) -> Samples:
    """`batch` on `device`, its images in the memory layout that the module has."""
    return Samples(batch.images.to(device, memory_format=layout), batch.targets.to(device))
