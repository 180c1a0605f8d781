"""How good sub-networks are: the super-network's weights, re-estimated norms, validation images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from netadapt.search.errors import InvalidSettingError
from netadapt.search.evaluation_settings import EvaluationSettings
from netadapt.search.supernet import SuperNetwork, calibrate
from netadapt.search.task import KeptBatches, Samples, one_batch
from netadapt.search.training.loop import device_of, placed

if TYPE_CHECKING:
    from netadapt.search.space import Arch
    from netadapt.search.task import Task


class Evaluator:
    """Scores archs on the validation split; higher is better. The same arch scores the same.

    The batch-norm statistics of a mixture of networks fit none of them, so each arch's are
    re-estimated on training images before it is judged (assumption, measured: without it the
    super-network's accuracies say nothing).

    Raises `InvalidSettingError` for more validation images than the task has.
    """

    def __init__(
        self, supernet: SuperNetwork, task: Task, settings: EvaluationSettings | None = None
    ) -> None:
        self.settings = settings = EvaluationSettings() if settings is None else settings
        available = task.validation_images
        wanted = available if settings.validation_images is None else settings.validation_images
        if wanted > available:
            raise InvalidSettingError(
                f"a validation uses 1 to {available} images of this task, got {wanted}; "
                "lower validation_images"
            )
        self._supernet = supernet
        self._task = task
        device, layout = device_of(supernet), torch.channels_last

        def validation() -> Iterator[Samples]:
            for batch in _first(task.validation(settings.batch_size), wanted):
                yield placed(batch, device, layout)

        self._validation = KeptBatches(validation, settings.memory_mb)
        calibration = task.calibration(settings.calibration_images, settings.batch_size)
        self._calibration = placed(one_batch(calibration), device, layout).images

    def prepare(self) -> None:
        """Make the validation images now and not with the first arch."""
        for _ in self._validation:
            pass

    def __call__(self, archs: Sequence[Arch]) -> list[float]:
        """The task's score of each arch."""
        with _eval_mode(self._supernet):
            return [self._score(arch) for arch in archs]

    @torch.inference_mode()
    def _score(self, arch: Arch) -> float:
        stats = calibrate(self._supernet, arch, self._calibration)
        value = _metric(
            lambda images: self._supernet(images, arch, stats), self._task, self._validation
        )
        return self._task.score(value)


@torch.inference_mode()
def evaluate_network(network: nn.Module, task: Task, batches: Iterable[Samples]) -> float:
    """The task's metric of a stand-alone network on all `batches`, in eval mode."""
    device = device_of(network)
    with _eval_mode(network):
        return _metric(lambda images: network(images.to(device)), task, batches)


def _metric(forward: Callable[[Tensor], Tensor], task: Task, batches: Iterable[Samples]) -> float:
    metric = task.metric()
    for images, targets in batches:
        outputs = forward(images)
        metric.update(outputs, targets.to(outputs.device))
    return metric.compute()


def _first(batches: Iterable[Samples], count: int) -> Iterator[Samples]:
    """The first `count` images."""
    left = count
    for images, targets in batches:
        yield Samples(images[:left], targets[:left])
        left -= len(images[:left])
        if not left:
            return


@contextmanager
def _eval_mode(module: nn.Module) -> Iterator[None]:
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
