"""The seam between training and what is learnt: loss, metric and the three splits of the data.

Symbols: `B` batch, `C, H, W` input channels, height and width, `N` images of a split.

A task is a pure function of its seed: batch number `step` of a training is always the same batch,
so that a resumed training equals an uninterrupted one without any stored generator state. It gives
batches and never a whole split; where their tensors live is the business of who asks.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from netadapt.android_runner.plugins import Registry
from netadapt.search.errors import InvalidSettingError, MetricError

if TYPE_CHECKING:
    from torch import Tensor

LAYOUT = "NCHW"
"""Of every network's input: one image, channels before rows and columns, fp32."""


@dataclass(frozen=True, slots=True)
class InputFormat:
    """How a picture becomes a network's input: `(pixel - mean) / std`, channel by channel.

    Parameters
    ----------
    channels: what each channel is, in their order, e.g. `("red", "green", "blue")`.
    mean, std: one a channel, in units of `pixel_range`.
    pixel_range: what the darkest and the brightest value of a pixel count as.
    """

    channels: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    pixel_range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        alike = len(self.channels) == len(self.mean) == len(self.std) > 0
        numbers = (*self.mean, *self.std, *self.pixel_range)
        if not alike or not all(map(math.isfinite, numbers)) or min(self.std) <= 0:
            raise InvalidSettingError(
                "an input's format has a name, a mean and a std above 0 for each channel, got "
                f"{self.channels}, {self.mean} and {self.std}; give as many of each"
            )


@dataclass(frozen=True, slots=True)
class OutputMap:
    """What a network's output says of every pixel, for a report to show.

    Outputs and targets are `(B, 1, H, W)`; a target of 0 or less is unknown.

    Parameters
    ----------
    name: of what is mapped, e.g. "depth".
    unit: of its numbers, e.g. "m".
    """

    name: str
    unit: str


class Samples(NamedTuple):
    """Images `(B, C, H, W)`, normalised fp32, and their targets (first axis B)."""

    images: Tensor
    targets: Tensor


class RunningMetric(Protocol):
    """A task's metric, taken batch by batch; the batches' sizes make no difference to it."""

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Count a batch in: a network's outputs, first axis B, and what they should be."""

    def compute(self) -> float:
        """The metric of all that was counted in. Raises `MetricError` for nothing."""


@runtime_checkable
class DetailedMetric(RunningMetric, Protocol):
    """One that knows other figures of the same outputs too, which results and reports show."""

    def others(self) -> Mapping[str, float]:
        """By name, as people read them. Raises `MetricError` for nothing."""


class Task(ABC):
    """What a network is trained for and judged by.

    One that a run file names is made as `Class(settings, seed=...)`: settings are its
    `settings_class`, the seed is the run's.
    """

    settings_class: ClassVar[type]
    """The frozen dataclass of its settings; every field has a default."""

    name: str
    """Stable name; with `seed` it distinguishes one task's checkpoints from another's."""
    metric_name: str
    higher_is_better: bool
    input_shape: tuple[int, int, int]
    """`(C, H, W)` of one image."""
    input_format: InputFormat
    """How `Samples.images` were made of pictures; a shipped network says so itself."""
    outputs: int
    """Channels of the network's output: the classes of a classification."""
    labels: tuple[str, ...]
    """What each output stands for, in their order; empty where they have no names."""
    output_map: OutputMap | None = None
    """Where an output is a map: what of; None: it is none."""
    train_images: int
    """Images of one epoch."""
    validation_images: int
    test_images: int
    seed: int

    @abstractmethod
    def train_batch(self, step: int, size: int) -> Samples:
        """The `step`-th batch (from 0) of `size` training images, shuffled and augmented.

        Equal arguments give equal batches. They are cut from one stream, whatever their size:
        batch `step` has its images `step * size` to `(step + 1) * size`. Epochs follow one another
        in it without a gap, so a batch may hold the end of one and the start of the next.
        """

    @abstractmethod
    def validation(self, batch_size: int) -> Iterator[Samples]:
        """Held out of the training set: what a search may look at.

        All of it, in the same order each time, in batches of `batch_size`; the last may be smaller.
        """

    @abstractmethod
    def test(self, batch_size: int) -> Iterator[Samples]:
        """Unseen sources: looked at once, for the final figures. In batches as `validation`'s."""

    def calibration(self, count: int, batch_size: int) -> Iterator[Samples]:
        """`count` training images to re-estimate batch statistics on, in batches as `validation`'s.

        The first of the training stream, unless a task has better ones.
        """
        for step, begin in enumerate(range(0, count, batch_size)):
            images, targets = self.train_batch(step, batch_size)
            left = count - begin
            yield Samples(images[:left], targets[:left])

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Mean training loss of a batch, a scalar; differentiable in `outputs`."""

    @abstractmethod
    def metric(self) -> RunningMetric:
        """The figure a user reads (e.g. accuracy, 0 to 1), with nothing counted in yet."""

    def score(self, metric: float) -> float:
        """The metric's value turned so that higher is better: what a search maximises."""
        return metric if self.higher_is_better else -metric


class Accuracy:
    """Share of a classification's images whose largest output is the target; `(B, classes)`."""

    def __init__(self) -> None:
        self._right = 0
        self._images = 0

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Count a batch in; targets `(B,)` are numbers of classes."""
        self._right += int((outputs.argmax(1) == targets).sum())
        self._images += len(targets)

    def compute(self) -> float:
        """From 0 to 1. Raises `MetricError` without images."""
        if not self._images:
            raise MetricError("an accuracy is of 1 image or more, got none; count batches in first")
        return single_precision(self._right / self._images)


def single_precision(value: float) -> float:
    """`value` as fp32 has it: metrics were fp32 tensors in 0.1, and its scores are on record."""
    import numpy as np

    return float(np.float32(value))


def one_batch(batches: Iterable[Samples]) -> Samples:
    """All batches in a row as one: for what is known to be small."""
    import torch

    return Samples(*map(torch.cat, zip(*batches, strict=True)))


class KeptBatches:
    """A split that is gone through many times: kept in memory where it is small enough.

    Parameters
    ----------
    make: begins the split anew; the same batches each time.
    limit_mb: batches are kept as long as they take no more together, and made anew each time
        where they take more.
    """

    def __init__(self, make: Callable[[], Iterator[Samples]], limit_mb: float = 1024.0) -> None:
        self._make = make
        self._limit_bytes = limit_mb * 2**20
        self._kept: list[Samples] | None = []
        self._complete = False

    def __iter__(self) -> Iterator[Samples]:
        if self._complete and self._kept is not None:
            yield from self._kept
            return
        keeping: list[Samples] | None = [] if self._kept is not None else None
        taken = 0
        for batch in self._make():
            taken += sum(tensor.nbytes for tensor in batch)
            if taken > self._limit_bytes:
                keeping = None
            if keeping is not None:
                keeping.append(batch)
            yield batch
        self._kept, self._complete = keeping, True


TASKS: Registry[Task] = Registry(
    "task",
    Task,
    {
        "digits": "netadapt.search.tasks.digits:ClutteredDigits",
        "image_folder": "netadapt.search.tasks.image_folder:ImageFolder",
        "depth": "netadapt.search.tasks.depth.task:Depth",
    },
    {
        "digits": "netadapt.search.tasks.settings:DigitsSettings",
        "image_folder": "netadapt.search.tasks.settings:ImageFolderSettings",
        "depth": "netadapt.search.tasks.depth.settings:DepthSettings",
    },
)
"""What comes along; a run file names one, or `package.module:Class`."""


def make_task(name: str, settings: object = None, *, seed: int) -> Task:
    """The task called `name`, of `TASKS` or `package.module:Class`.

    `settings` is of its `settings_class`; None takes the defaults. Raises `PluginError`, and what
    the task raises.
    """
    kind: Any = TASKS.find(name)
    return kind(kind.settings_class() if settings is None else settings, seed=seed)
