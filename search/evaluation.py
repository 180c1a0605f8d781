"""How good sub-networks are: the super-network's weights, re-estimated norms, validation images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from netadapt.search.errors import InvalidSettingError, MetricError
from netadapt.search.evaluation_settings import EvaluationSettings
from netadapt.search.ranks import Follower, Job, Ranks, current
from netadapt.search.supernet import SuperNetwork, calibrate
from netadapt.search.task import KeptBatches, Samples, one_batch
from netadapt.search.training.loop import device_of, placed

if TYPE_CHECKING:
    from netadapt.search.space import Arch
    from netadapt.search.task import RunningMetric, Task


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
        self._shared = False
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
        """Of each arch the task's score, or its loss with the sign turned: by the settings.

        Where processes work together, each scores its share of the archs.
        """
        ranks = current()
        if ranks.leads:
            if not self._shared:
                ranks.hand_out(EvaluatorJob(self._supernet, self.settings))
                self._shared = True
            ranks.hand_out(ScoringJob(tuple(archs)))
        return self.share_of(archs, ranks)

    def share_of(self, archs: Sequence[Arch], ranks: Ranks) -> list[float]:
        """This rank's part of `__call__`; on rank 0 the scores of all archs."""
        with _eval_mode(self._supernet):
            own = [self._score(arch) for arch in archs[ranks.number :: ranks.count]]
        if ranks.count == 1:
            return own
        scores = [0.0] * len(archs)
        for number, theirs in enumerate(ranks.gathered(own)):
            scores[number :: ranks.count] = theirs
        return scores

    @torch.inference_mode()
    def _score(self, arch: Arch) -> float:
        stats = calibrate(self._supernet, arch, self._calibration)
        by_loss = self.settings.score == "loss"
        value = _judged(
            lambda images: self._supernet(images, arch, stats),
            MeanLoss(self._task) if by_loss else self._task.metric(),
            self._validation,
        )
        return -value if by_loss else self._task.score(value)


@dataclass(frozen=True, slots=True)
class EvaluatorJob(Job):
    """What rank 0 scores with; the others make the same of it."""

    supernet: SuperNetwork
    settings: EvaluationSettings

    def follow(self, follower: Follower) -> None:
        """Keep an evaluator for the scoring jobs to come."""
        supernet = self.supernet.to(follower.device)
        follower.kept[_EVALUATOR] = Evaluator(supernet, follower.task, self.settings)


@dataclass(frozen=True, slots=True)
class ScoringJob(Job):
    """Archs to be scored side by side."""

    archs: tuple[Arch, ...]

    def follow(self, follower: Follower) -> None:
        """Score this rank's share."""
        follower.kept[_EVALUATOR].share_of(self.archs, follower.ranks)


_EVALUATOR = "evaluator"


@torch.inference_mode()
def evaluate_network(network: nn.Module, task: Task, batches: Iterable[Samples]) -> float:
    """The task's metric of a stand-alone network on all `batches`, in eval mode."""
    device = device_of(network)
    with _eval_mode(network):
        return _judged(lambda images: network(images.to(device)), task.metric(), batches)


class MeanLoss:
    """A task's loss as a metric, without label smoothing; lower is better."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._total = 0.0
        self._images = 0

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """See `RunningMetric.update`."""
        self._total += float(self._task.loss(outputs, targets)) * len(targets)
        self._images += len(targets)

    def compute(self) -> float:
        """The mean over all images. Raises `MetricError` without any."""
        if not self._images:
            raise MetricError("a loss is of 1 image or more, got none; count batches in first")
        return self._total / self._images


def _judged(
    forward: Callable[[Tensor], Tensor], metric: RunningMetric, batches: Iterable[Samples]
) -> float:
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
