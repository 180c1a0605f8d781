"""How good sub-networks are: the super-network's weights, re-estimated norms, validation images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from netadapt.search.errors import InvalidSettingError
from netadapt.search.evaluation_settings import EvaluationSettings
from netadapt.search.race import Losses, lead, raced, stretches_of
from netadapt.search.ranks import Follower, Job, Ranks, current
from netadapt.search.supernet import SuperNetwork, calibrate
from netadapt.search.task import DetailedMetric, KeptBatches, Samples, one_batch
from netadapt.search.training.loop import device_of, placed

if TYPE_CHECKING:
    from netadapt.search.space import Arch
    from netadapt.search.supernet import BatchNormStats
    from netadapt.search.task import RunningMetric, Task

Value = TypeVar("Value")


class Evaluator:
    """Scores archs on the validation split; higher is better.

    The batch-norm statistics of a mixture of networks fit none of them, so each arch's are
    re-estimated on training images before it is judged (assumption, measured: without it the
    super-network's accuracies say nothing). By loss, archs that are scored together race
    (`netadapt.search.race`): the same archs together score the same. By metric, or without a race,
    an arch's score depends on nothing else.

    Raises `InvalidSettingError` for more validation images than the task has.
    """

    def __init__(
        self, supernet: SuperNetwork, task: Task, settings: EvaluationSettings | None = None
    ) -> None:
        self.settings = settings = EvaluationSettings() if settings is None else settings
        self._supernet = supernet
        self._task = task
        self._wanted = wanted = validation_count(task, settings)
        self._shared = False
        device, layout = device_of(supernet), torch.channels_last

        def validation() -> Iterator[Samples]:
            for batch in first_images(task.validation(settings.batch_size), wanted):
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
        """This rank's part of `__call__`; returns the scores of all archs."""
        with eval_mode(self._supernet):
            if self.settings.score == "loss":
                return self._by_loss(archs, ranks)
            own = {i: self._by_metric(archs[i]) for i in _share(range(len(archs)), ranks)}
            return _values(ranks.everyones(own), range(len(archs)))

    @torch.inference_mode()
    def lead(self, arch: Arch, other: Arch) -> tuple[float, float] | None:
        """By how much the loss of `other` is above that of `arch`, and its standard error.

        On all validation images, the same for both; None where they are too few for an error.
        """
        with eval_mode(self._supernet):
            stats = [calibrate(self._supernet, a, self._calibration) for a in (arch, other)]
            both = [
                [self._losses(a, s, batch) for a, s in zip((arch, other), stats, strict=True)]
                for batch in self._validation
            ]
        first, second = np.concatenate(both, axis=1)
        if len(first) < 2:
            return None
        return lead(first, second, np.concatenate(self._stretches([len(both)])))

    @torch.inference_mode()
    def _by_metric(self, arch: Arch) -> float:
        stats = calibrate(self._supernet, arch, self._calibration)
        value = _judged(
            lambda images: self._supernet(images, arch, stats),
            self._task.metric(),
            self._validation,
        )
        return self._task.score(value)

    @torch.inference_mode()
    def _by_loss(self, archs: Sequence[Arch], ranks: Ranks) -> list[float]:
        """All ranks hear all losses, so that all of them know who is still in the race."""
        own = set(_share(range(len(archs)), ranks))
        stats = {i: calibrate(self._supernet, archs[i], self._calibration) for i in own}
        first, batch_size = self.settings.race_images, self.settings.batch_size
        counts = stretches_of(self._wanted, first if len(archs) > 1 else 0, batch_size)
        batches = iter(self._validation)

        def judge(running: Sequence[int], number: int) -> Losses:
            found: dict[int, list[Losses]] = {i: [] for i in running if i in own}
            last = number == len(counts) - 1  # to the very end: then the images are kept
            for batch in islice(batches, None if last else counts[number]):
                for i, losses in found.items():
                    losses.append(self._losses(archs[i], stats[i], batch))
            joined = {i: np.concatenate(losses) for i, losses in found.items()}
            return np.stack(_values(ranks.everyones(joined), running))

        return [-loss for loss in raced(len(archs), self._stretches(counts), judge)]

    def _losses(self, arch: Arch, stats: BatchNormStats, batch: Samples) -> Losses:
        """The mean loss of each part of a batch, without label smoothing."""
        outputs = self._supernet(batch.images, arch, stats)
        parts = zip(torch.split(outputs, _PART), torch.split(batch.targets, _PART), strict=True)
        losses = [self._task.loss(some, targets) for some, targets in parts]
        return torch.stack(losses).double().cpu().numpy()

    def _stretches(self, counts: Sequence[int]) -> list[Losses]:
        """How many images the parts of each stretch of so many batches have."""
        sizes, batch_size, begin = [], self.settings.batch_size, 0
        for count in counts:
            end = min(begin + count * batch_size, self._wanted)
            batches = [min(batch_size, end - at) for at in range(begin, end, batch_size)]
            parts = [min(_PART, n - at) for n in batches for at in range(0, n, _PART)]
            sizes.append(np.array(parts, dtype=float))
            begin = end
        return sizes


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

_PART = 16
"""Images whose mean loss is one figure of a comparison of two networks (assumption)."""


def _share(places: range, ranks: Ranks) -> range:
    """The places of a list that this rank takes care of."""
    return places[ranks.number :: ranks.count]


def _values(found: Iterable[Mapping[int, Value]], places: Iterable[int]) -> list[Value]:
    """What the ranks found, in the order of `places`."""
    joined = dict(item for each in found for item in each.items())
    return [joined[place] for place in places]


@torch.inference_mode()
def evaluate_network(network: nn.Module, task: Task, batches: Iterable[Samples]) -> float:
    """The task's metric of a stand-alone network on all `batches`, in eval mode."""
    return judge_network(network, task, batches)[0]


@torch.inference_mode()
def judge_network(
    network: nn.Module, task: Task, batches: Iterable[Samples]
) -> tuple[float, dict[str, float]]:
    """The same, and the metric's other figures by name, if it has any."""
    device, metric = device_of(network), task.metric()
    with eval_mode(network):
        value = _judged(lambda images: network(images.to(device)), metric, batches)
    return value, dict(metric.others()) if isinstance(metric, DetailedMetric) else {}


def _judged(
    forward: Callable[[Tensor], Tensor], metric: RunningMetric, batches: Iterable[Samples]
) -> float:
    for images, targets in batches:
        outputs = forward(images)
        metric.update(outputs, targets.to(outputs.device))
    return metric.compute()


def validation_count(task: Task, settings: EvaluationSettings) -> int:
    """How many validation images are used. Raises `InvalidSettingError` for more than there are."""
    available = task.validation_images
    wanted = available if settings.validation_images is None else settings.validation_images
    if wanted > available:
        raise InvalidSettingError(
            f"a validation uses 1 to {available} images of this task, got {wanted}; "
            "lower validation_images"
        )
    return wanted


def first_images(batches: Iterable[Samples], count: int) -> Iterator[Samples]:
    """The first `count` images."""
    left = count
    for images, targets in batches:
        yield Samples(images[:left], targets[:left])
        left -= len(images[:left])
        if not left:
            return


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Within, the module is in eval mode; behind it, in the one it was in."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
