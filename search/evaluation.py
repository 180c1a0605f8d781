"""How good sub-networks are: the super-network's weights, re-estimated norms, validation images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from netadapt.search.errors import InvalidSettingError
from netadapt.search.supernet import SuperNetwork, calibrate
from netadapt.search.task import Samples

if TYPE_CHECKING:
    from netadapt.search.space import Arch
    from netadapt.search.task import Task


class Evaluator:
    """Scores archs on the validation split; higher is better. The same arch scores the same.

    The batch-norm statistics of a mixture of networks fit none of them, so each arch's are
    re-estimated on training images before it is judged (assumption, measured: without it the
    super-network's accuracies say nothing).

    Parameters
    ----------
    calibration_images: training images that the statistics are re-estimated on.
    validation_images: the first images of the split that are used; None: all.
    batch_size: images a forward pass of the judged network.
    """

    def __init__(
        self,
        supernet: SuperNetwork,
        task: Task,
        *,
        calibration_images: int = 256,
        validation_images: int | None = None,
        batch_size: int = 128,
    ) -> None:
        validation = task.validation()
        available = len(validation.images)
        wanted = available if validation_images is None else validation_images
        if not 0 < wanted <= available:
            raise InvalidSettingError(
                f"a validation uses 1 to {available} images of this task, got {wanted}"
            )
        if calibration_images < 2:
            raise InvalidSettingError(
                f"statistics are estimated on 2 images or more, got {calibration_images}"
            )
        self._supernet = supernet
        self._task = task
        self._batch_size = batch_size
        layout = torch.channels_last
        self._validation = Samples(
            validation.images[:wanted].contiguous(memory_format=layout),
            validation.targets[:wanted],
        )
        self._calibration = task.calibration_images(calibration_images).contiguous(
            memory_format=layout
        )

    def __call__(self, archs: Sequence[Arch]) -> list[float]:
        """The task's score of each arch."""
        with _eval_mode(self._supernet):
            return [self._score(arch) for arch in archs]

    @torch.inference_mode()
    def _score(self, arch: Arch) -> float:
        stats = calibrate(self._supernet, arch, self._calibration)
        outputs = _in_batches(
            lambda images: self._supernet(images, arch, stats),
            self._validation.images,
            self._batch_size,
        )
        return self._task.score(outputs, self._validation.targets)


@torch.inference_mode()
def evaluate_network(
    network: nn.Module, task: Task, samples: Samples, batch_size: int = 256
) -> float:
    """The task's metric of a stand-alone network on `samples`, in eval mode."""
    with _eval_mode(network):
        return task.metric(_in_batches(network, samples.images, batch_size), samples.targets)


@contextmanager
def _eval_mode(module: nn.Module) -> Iterator[None]:
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


def _in_batches(forward: Callable[[Tensor], Tensor], images: Tensor, batch_size: int) -> Tensor:
    return torch.cat([forward(batch) for batch in torch.split(images, batch_size)])
