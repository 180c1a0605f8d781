"""What is trained: a super-network, or one network from any weights."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from netadapt.search.training.loop import ProgressCallback, device_of, train
from netadapt.search.training.plain import PlainStep
from netadapt.search.training.settings import check_supernet

if TYPE_CHECKING:
    from netadapt.search.task import Samples, Task
    from netadapt.search.training.settings import TrainingSettings
    from netadapt.search.training.step import Step, SupernetStep


def train_supernet(
    supernet: nn.Module,
    task: Task,
    settings: TrainingSettings,
    step: SupernetStep,
    *,
    seed: int,
    checkpoint: Path | None = None,
    on_progress: ProgressCallback | None = None,
) -> None:
    """Train `supernet` in place. Parameters and errors are those of `train`.

    `settings.norm_batches` counts for networks alone: a super-network's statistics are re-estimated
    for each arch that it is asked for. Raises `InvalidSettingError` for `settings.compile` too.
    """
    check_supernet(settings)
    train(supernet, task, settings, step, seed=seed, checkpoint=checkpoint, on_progress=on_progress)


def train_network(
    network: nn.Module,
    task: Task,
    settings: TrainingSettings,
    step: Step | None = None,
    *,
    seed: int,
    checkpoint: Path | None = None,
    on_progress: ProgressCallback | None = None,
    first_batch: int = 0,
) -> None:
    """Train one network in place from the weights it has; leaves it in eval mode.

    `step` None learns the labels. Other parameters and errors are those of `train`.
    """
    train(
        network,
        task,
        settings,
        PlainStep() if step is None else step,
        seed=seed,
        checkpoint=checkpoint,
        on_progress=on_progress,
        first_batch=first_batch,
    )
    if settings.norm_batches:
        count = settings.norm_batches * settings.batch_size
        reestimate_norms(network, task.calibration(count, settings.batch_size))
    network.eval()


@torch.no_grad()
def reestimate_norms(network: nn.Module, batches: Iterable[Samples]) -> None:
    """Set every batch norm's statistics to their mean over `batches`, each counting alike."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    training = network.training
    device = device_of(network)
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
    try:
        network.eval()
        for norm in norms:
            norm.train()
        for batch in batches:
            network(batch.images.to(device))
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        network.train(training)
