"""Training: of a super-network with ordered dropout, and of one network, from any weights.

Both run the same loop. Everything random in step `n` (the batch, the sampled archs, dropout) is
drawn from (seed, n) alone and the learning rate is a function of `n`, so a checkpoint holds the
weights, the optimiser and `n`, and a training that was killed and resumed ends with the weights of
one that was not.
"""

from __future__ import annotations

import io
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from netadapt.android_runner.files import write_atomically
from netadapt.search.errors import CheckpointError, InvalidSettingError, TrainingDivergedError

if TYPE_CHECKING:
    from netadapt.search.space import Arch
    from netadapt.search.supernet import SuperNetwork
    from netadapt.search.task import Task

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """A recipe. The defaults are the digits task's; the papers' recipes are not at hand."""

    steps: int = 800
    batch_size: int = 64
    optimizer: Literal["adamw", "sgd"] = "sgd"
    learning_rate: float = 0.2
    """At its peak: linear warm-up, then half a cosine down to 0."""
    warmup_steps: int = 40
    weight_decay: float = 1e-4
    """On matrices and filters only, not on biases and normalisation."""
    momentum: float = 0.9
    """Of SGD (Nesterov); AdamW keeps its usual averages."""
    label_smoothing: float = 0.0
    norm_batches: int = 32
    """Batches that the final network's batch-norm statistics are re-estimated on; 0: left as
    training's running averages."""
    channels_last: bool = True
    checkpoint_every_steps: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "learning_rate", "checkpoint_every_steps"):
            if not getattr(self, name) > 0:
                raise InvalidSettingError(
                    f"a training's {name} is above 0, got {getattr(self, name)}"
                )
        for name in ("warmup_steps", "weight_decay", "norm_batches", "seed"):
            if not getattr(self, name) >= 0:
                raise InvalidSettingError(
                    f"a training's {name} is 0 or more, got {getattr(self, name)}"
                )
        if self.warmup_steps >= self.steps:
            raise InvalidSettingError(
                f"the warm-up is shorter than the training, got {self.warmup_steps} of "
                f"{self.steps} steps; lower warmup_steps"
            )
        if self.optimizer not in ("adamw", "sgd"):
            raise InvalidSettingError(f"the optimizer is adamw or sgd, got {self.optimizer!r}")

    def learning_rate_at(self, step: int) -> float:
        """Of the `step`-th step, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / (self.steps - self.warmup_steps)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


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


class ArchSampler(Protocol):
    """Draws the archs of one training step: one an image, or one for all."""

    def __call__(
        self, count: int, rng: np.random.Generator, progress: float
    ) -> Arch | Sequence[Arch]: ...


def train_supernet(
    supernet: SuperNetwork,
    task: Task,
    settings: TrainingSettings,
    sample: ArchSampler,
    *,
    checkpoint: Path | None = None,
    on_progress: ProgressCallback | None = None,
) -> None:
    """Train `supernet` in place with ordered dropout (NetAdaptV2): one arch an image.

    Raises `TrainingDivergedError` when the loss is not finite, `CheckpointError` when `checkpoint`
    is there but belongs to another training.
    """

    def forward(images: Tensor, rng: np.random.Generator, progress: float) -> Tensor:
        return supernet(images, sample(len(images), rng, progress))

    _fit(supernet, forward, task, settings, checkpoint, on_progress)


def train_network(
    network: nn.Module,
    task: Task,
    settings: TrainingSettings,
    *,
    checkpoint: Path | None = None,
    on_progress: ProgressCallback | None = None,
) -> None:
    """Train one network in place from the weights it has; leaves it in eval mode.

    Raises as `train_supernet` does.
    """
    _fit(network, lambda images, *_: network(images), task, settings, checkpoint, on_progress)
    if settings.norm_batches:
        reestimate_norms(
            network,
            task.calibration_images(settings.norm_batches * settings.batch_size),
            settings.batch_size,
        )
    network.eval()


@torch.no_grad()
def reestimate_norms(network: nn.Module, images: Tensor, batch_size: int = 128) -> None:
    """Set every batch norm's statistics to their mean over `images` `(N, C, H, W)`."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    training = network.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
    try:
        network.eval()
        for norm in norms:
            norm.train()
        for batch in torch.split(images, batch_size):
            network(batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        network.train(training)


def _fit(
    module: nn.Module,
    forward: Callable[[Tensor, np.random.Generator, float], Tensor],
    task: Task,
    settings: TrainingSettings,
    checkpoint: Path | None,
    on_progress: ProgressCallback | None,
) -> None:
    layout = torch.channels_last if settings.channels_last else torch.contiguous_format
    module.to(memory_format=layout)  # type: ignore[call-overload]  # torch's stub lacks it
    optimizer = _optimizer(module, settings)
    first, before_s = 0, 0.0
    if checkpoint is not None and checkpoint.exists():
        first, before_s = _resume(checkpoint, module, optimizer, task, settings)
        log.info("%s: resumed at step %d of %d", checkpoint, first, settings.steps)
    module.train()
    started = time.perf_counter()
    for step in range(first, settings.steps):
        rng = np.random.default_rng((settings.seed, step))
        batch = task.train_batch(step, settings.batch_size)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**63)))
            outputs = forward(batch.images.to(memory_format=layout), rng, step / settings.steps)
        loss = task.loss(outputs, batch.targets, settings.label_smoothing)
        if not math.isfinite(loss.item()):
            raise TrainingDivergedError(
                f"a training's loss stays finite, got {loss.item()} at step {step + 1} of "
                f"{settings.steps}; lower the learning rate (now {settings.learning_rate:g})"
            )
        learning_rate = settings.learning_rate_at(step)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        done, seconds = step + 1, time.perf_counter() - started
        if checkpoint is not None and (
            done % settings.checkpoint_every_steps == 0 or done == settings.steps
        ):
            _save(checkpoint, module, optimizer, task, settings, done, before_s + seconds)
        if on_progress is not None:
            on_progress(
                TrainingProgress(
                    step=done,
                    steps=settings.steps,
                    loss=loss.item(),
                    learning_rate=learning_rate,
                    seconds_per_step=seconds / (done - first),
                    seconds=before_s + seconds,
                )
            )


def _optimizer(module: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    parameters = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=settings.learning_rate, foreach=True)
    return torch.optim.SGD(
        groups,
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.momentum > 0,
        foreach=True,
    )


def _fingerprint(task: Task, settings: TrainingSettings) -> dict[str, Any]:
    """What must agree for a checkpoint to be carried on; how often it is written need not."""
    recipe = asdict(replace(settings, checkpoint_every_steps=1, norm_batches=0))
    return {"task": task.name, "task_seed": task.seed} | recipe


def _save(
    path: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    task: Task,
    settings: TrainingSettings,
    step: int,
    seconds: float,
) -> None:
    buffer = io.BytesIO()
    state = {
        "fingerprint": _fingerprint(task, settings),
        "step": step,
        "seconds": seconds,
        "module": module.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    torch.save(state, buffer)
    write_atomically(path, buffer.getvalue())


def _resume(
    path: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    task: Task,
    settings: TrainingSettings,
) -> tuple[int, float]:
    """Load `path` into module and optimiser; the steps done and the seconds they took."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        found, step = state["fingerprint"], int(state["step"])
        seconds = float(state.get("seconds", 0.0))  # 0.1 didn't keep them
    except Exception as error:  # torch.load raises whatever the broken part of the file led to
        raise CheckpointError(
            f"a checkpoint is a file that this program wrote, cannot read {path} "
            f"({type(error).__name__}); delete it to train anew"
        ) from error
    expected = _fingerprint(task, settings)
    if found != expected:
        changed = sorted(k for k in expected if found.get(k) != expected[k])
        raise CheckpointError(
            f"a checkpoint is resumed with the settings it began with, {path} differs in "
            f"{', '.join(changed)}; restore them, or delete it to train anew"
        )
    try:
        module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"a checkpoint is resumed with the network it began with, {path} holds another; "
            "delete it to train anew"
        ) from error
    return step, seconds
