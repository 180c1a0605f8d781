"""Weights and architecture learnt in turn: what of a space is worth its cost.

A step of the weights is one of any training, of a mixture drawn by the Gumbel-softmax. After every
few of them comes one of the architecture, on held-out images: the loss of a mixture and its cost,
by their gradient in the logits. All that a step draws comes from (seed, step), so that a training
that was interrupted and resumed ends with the architecture of one that was not.

The architecture learns from the images that other strategies score candidates on: both see the same
images in the same part. (FBNetV2 takes 20 % of the training images; how many these are is the
task's to say.)
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from netadapt.search.dmasking.architecture import Architecture
from netadapt.search.dmasking.points import MaskingPoint
from netadapt.search.errors import InvalidSettingError, TrainingDivergedError
from netadapt.search.mixture import one_hot
from netadapt.search.ranks import current
from netadapt.search.supernet import SuperNetwork
from netadapt.search.task import KeptBatches, Samples
from netadapt.search.training.checkpoint import Done, fingerprint, resume, save
from netadapt.search.training.loop import (
    ProgressCallback,
    TrainingProgress,
    add_gradients,
    device_of,
    layout_of,
    placed,
)
from netadapt.search.training.optimizers import make_optimizer
from netadapt.search.training.settings import check_supernet
from netadapt.search.training.step import OutputStep, StepInput

if TYPE_CHECKING:
    from netadapt.search.dmasking.cost import ExpectedCost
    from netadapt.search.dmasking.settings import DMaskingSettings
    from netadapt.search.space import Arch
    from netadapt.search.task import Task
    from netadapt.search.training.settings import TrainingSettings

MICROSECONDS = 1e3
"""Of a millisecond: latencies are above 1 in them, so that their logarithm is above 0."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A cost, and what it is to be.

    Parameters
    ----------
    budget: in the cost's unit.
    measure: an arch to what it really takes; None: nobody measures.
    """

    cost: ExpectedCost
    budget: float
    measure: Callable[[Arch], float] | None = None


class MaskedSearch(nn.Module):
    """What a search learns: weights, architecture, and how the costs stand.

    Parameters
    ----------
    goals: how many costs there are.
    """

    multipliers: Tensor
    """Of each goal, `(goals,)`."""
    corrections: Tensor
    """Of each goal what its cost is multiplied by, `(goals,)`."""

    def __init__(self, supernet: SuperNetwork, goals: int) -> None:
        super().__init__()
        self.supernet = supernet
        self.architecture = Architecture(supernet.space)
        self.register_buffer("multipliers", torch.zeros(goals, dtype=torch.float64))
        self.register_buffer("corrections", torch.ones(goals, dtype=torch.float64))


class _MixtureStep(OutputStep):
    """The weights' step: one mixture for all images."""

    def __init__(self, architecture: Architecture, settings: DMaskingSettings) -> None:
        self._architecture = architecture
        self._settings = settings

    def outputs(self, given: StepInput) -> Tensor:
        assert isinstance(given.module, SuperNetwork)
        temperature = self._settings.temperature_at(given.progress)
        with torch.no_grad():
            mixture = self._architecture.drawn(given.rng, temperature)
        return given.module.mixed(given.batch.images, mixture)

    def describe(self) -> str:
        return f"dmasking {json.dumps(asdict(self._settings))}"


class _Optimizers:
    """Those of weights and architecture, kept in a checkpoint as one."""

    def __init__(
        self, search: MaskedSearch, training: TrainingSettings, settings: DMaskingSettings
    ) -> None:
        self.weights = make_optimizer(search.supernet, training)
        self.architecture = torch.optim.Adam(
            search.architecture.parameters(),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            "weights": self.weights.state_dict(),
            "architecture": self.architecture.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.weights.load_state_dict(state["weights"])
        self.architecture.load_state_dict(state["architecture"])


def learn(
    search: MaskedSearch,
    task: Task,
    training: TrainingSettings,
    settings: DMaskingSettings,
    goals: Sequence[Goal],
    *,
    seed: int,
    until: int | None = None,
    checkpoint: Path | None = None,
    after: tuple[Path, Sequence[Goal]] | None = None,
    on_progress: ProgressCallback | None = None,
    on_point: Callable[[MaskingPoint], None] | None = None,
) -> None:
    """Learn in place; leaves the super-network in training mode.

    Parameters
    ----------
    training: of the weights, and how many steps there are; no average of them is kept.
    goals: the costs and their budgets; for `objective = "product"` the first one alone.
    seed: of batches' order and of all that is drawn.
    until: stop behind so many steps; None: at the end.
    checkpoint: where the state is kept; one that is there is resumed.
    after: the finished checkpoint, and the goals, of a training to go on from where `checkpoint` is
        not there yet.
    on_progress, on_point: called after each step, and after those that say where the search stands.

    Raises `InvalidSettingError` for settings that do not go together and for a space of one
    network, `TrainingDivergedError` for a loss, a cost or a logit that is not finite,
    `CheckpointError` for another training's checkpoint, and what the goals' measuring raises.
    """
    training = training.in_steps(task.train_images)
    check_supernet(training)
    if training.ema or current().count > 1:
        raise InvalidSettingError(
            "a differentiable search has one process and keeps no average of the weights, got "
            f"{current().count} processes and ema = {training.ema:g}; start one, with ema = 0"
        )
    space = search.supernet.space
    if not space.dimensions:
        raise InvalidSettingError(
            f"a search needs something to choose, space {space.name!r} has one network; search "
            "another space"
        )
    frozen, until = settings.frozen_steps(training.steps), until or training.steps
    step = _MixtureStep(search.architecture, settings)
    optimizers = _Optimizers(search, training, settings)
    kept = _kept(task, training, step, seed, goals)
    done = Done(0, 0.0)
    if checkpoint is not None and checkpoint.exists():
        done = resume(checkpoint, search, optimizers, kept)  # type: ignore[arg-type]  # as one
    elif after is not None:
        path, former = after
        done = resume(path, search, optimizers, _kept(task, training, step, seed, former))  # type: ignore[arg-type]
    search.supernet.to(memory_format=layout_of(training))  # type: ignore[call-overload]  # torch's stub lacks it
    turn = _Turn(search, task, training, settings, goals, seed, frozen)
    held_out = turn.held_out(turn.before(done.step))
    started, before = time.perf_counter(), done
    search.supernet.train()
    for number in range(before.step, until):
        rate = training.learning_rate_at(number)
        for group in optimizers.weights.param_groups:
            group["lr"] = rate
        optimizers.weights.zero_grad(set_to_none=True)
        loss = add_gradients(search.supernet, task, training, step, seed, number)
        optimizers.weights.step()
        if turn.is_one(number):
            learnt = turn.take(number, next(held_out), optimizers.architecture)
            point = turn.point(number, learnt)
            if on_point is not None and point is not None:
                on_point(point)
        seconds = time.perf_counter() - started
        done = Done(number + 1, before.seconds + seconds)
        last = done.step == until
        if checkpoint is not None and (last or done.step % training.checkpoint_every_steps == 0):
            save(checkpoint, search, optimizers, kept, done)  # type: ignore[arg-type]
        if on_progress is not None:
            each = seconds / (done.step - before.step)
            on_progress(TrainingProgress(done.step, until, loss, rate, each, done.seconds))


class _Turn:
    """The architecture's steps of one training."""

    def __init__(
        self,
        search: MaskedSearch,
        task: Task,
        training: TrainingSettings,
        settings: DMaskingSettings,
        goals: Sequence[Goal],
        seed: int,
        frozen: int,
    ) -> None:
        self._search = search
        self._task = task
        self._training = training
        self._settings = settings
        self._goals = goals if settings.objective == "budget" else goals[:1]
        self._seed = seed
        self._frozen = frozen
        self._epoch = task.train_images / training.batch_size
        self._kept = KeptBatches(lambda: task.validation(training.batch_size))

    def before(self, number: int) -> int:
        """How many steps of the architecture came before step `number` of the weights."""
        return max(number - self._frozen, 0) // self._settings.weight_steps

    def is_one(self, number: int) -> bool:
        """Whether the architecture has a step behind step `number` of the weights."""
        return bool(self._goals) and self.before(number + 1) > self.before(number)

    def held_out(self, skipped: int) -> Iterator[Samples]:
        """Batches of held-out images, again and again; the first `skipped` left out."""

        def batches() -> Iterator[Samples]:
            while True:
                yield from self._kept

        return islice(batches(), skipped, None)

    def take(self, number: int, batch: Samples, optimizer: torch.optim.Optimizer) -> float:
        """One step; the loss on held-out images."""
        search, settings = self._search, self._settings
        device = device_of(search.supernet)
        images, targets = placed(batch, device, layout_of(self._training))
        rng = np.random.default_rng((self._seed, number, 1))  # the weights' step has two numbers
        progress = number / self._training.steps
        for parameter in search.supernet.parameters():
            parameter.requires_grad_(False)
        try:
            with (
                torch.random.fork_rng([device] if device.type == "cuda" else []),
                torch.autocast(
                    device.type, torch.bfloat16, enabled=self._training.precision == "bf16"
                ),
            ):
                torch.manual_seed(int(rng.integers(2**63)))
                mixture = search.architecture.drawn(rng, settings.temperature_at(progress))
                outputs = search.supernet.mixed(images, mixture)
                loss = self._task.loss(outputs, targets).double().cpu()
            whole = self._with_costs(loss)
            if not bool(torch.isfinite(whole)):
                raise TrainingDivergedError(
                    f"a search's loss stays finite, got {whole.item()} at step {number + 1} of "
                    f"{self._training.steps}; lower the learning rate of the weights or of the "
                    "architecture"
                )
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(whole)
        finally:
            for parameter in search.supernet.parameters():
                parameter.requires_grad_(True)
        optimizer.step()
        search.architecture.check()
        return loss.item()

    def _with_costs(self, loss: Tensor) -> Tensor:
        """The loss with the goals' costs, whose multipliers take a step too."""
        search, settings = self._search, self._settings
        mixture = search.architecture.probabilities()
        costs = [
            goal.cost(mixture) * correction
            for goal, correction in zip(self._goals, search.corrections, strict=False)
        ]
        if settings.objective == "product":
            unit = MICROSECONDS if self._goals[0].cost.name == "latency" else 1.0
            log_cost: Tensor = torch.log(costs[0] * unit)
            return loss * settings.alpha * log_cost.clamp(min=0.0) ** settings.beta
        for place, (goal, cost) in enumerate(zip(self._goals, costs, strict=True)):
            over = torch.log(cost / (goal.budget * settings.aim))
            multiplier = search.multipliers[place].item()
            loss = loss + multiplier * over + settings.penalty * over.clamp(min=0.0).square()
            change = settings.multiplier_rate * over.item()
            search.multipliers[place] = max(multiplier + change, 0.0)
        return loss

    @torch.no_grad()
    def point(self, number: int, loss: float) -> MaskingPoint | None:
        """Where the search stands behind step `number`, about once an epoch; measures then."""
        search, settings = self._search, self._settings
        every = self._epoch * (settings.measure_epochs or 1.0)
        later = number + settings.weight_steps  # where the next step of the architecture is
        last = later >= self._training.steps
        if not last and int(later / every) == int(number / every):
            return None
        architecture = search.architecture
        arch = architecture.likeliest()
        alone = one_hot(architecture.space, arch)
        probabilities = architecture.probabilities()
        predicted, measured = {}, {}
        for place, goal in enumerate(self._goals):
            name = goal.cost.name
            predicted[name] = goal.cost(alone).item()
            if goal.measure is not None and settings.measure_epochs:
                measured[name] = goal.measure(arch)
                search.corrections[place] = measured[name] / predicted[name]
        names = [goal.cost.name for goal in self._goals]
        progress = number / self._training.steps
        return MaskingPoint(
            step=number + 1,
            steps=self._training.steps,
            loss=loss,
            temperature=settings.temperature_at(progress),
            entropy=architecture.entropy(),
            costs={g.cost.name: g.cost(probabilities).item() for g in self._goals},
            budgets={g.cost.name: g.budget for g in self._goals},
            multipliers=dict(zip(names, search.multipliers.tolist(), strict=False)),
            corrections=dict(zip(names, search.corrections.tolist(), strict=False)),
            likeliest=arch.to_json(),
            predicted=predicted,
            measured=measured,
            probabilities={name: p.tolist() for name, p in probabilities.items()},
        )


def _kept(
    task: Task,
    training: TrainingSettings,
    step: _MixtureStep,
    seed: int,
    goals: Sequence[Goal],
) -> dict[str, Any]:
    """What must agree for a checkpoint to be resumed."""
    budgets = {goal.cost.name: goal.budget for goal in goals}
    return fingerprint(task, training, step, seed) | {"budgets": json.dumps(budgets)}
