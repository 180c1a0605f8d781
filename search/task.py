"""The seam between training and what is learnt: loss, metric and the three splits of the data.

Symbols: `B` batch, `C, H, W` input channels, height and width, `N` images of a split.

A task is a pure function of its seed: batch number `step` of a training is always the same batch,
so that a resumed training equals an unbroken one without any stored generator state.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from netadapt.search.errors import InvalidSettingError

if TYPE_CHECKING:
    from torch import Tensor

LAYOUT = "NCHW"
"""Of every network's input: one image, channels before rows and columns, fp32."""


@dataclass(frozen=True, slots=True)
class InputFormat:
    """How a picture becomes a network's input: `(pixel - mean) / std`, channel by channel.

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


class Samples(NamedTuple):
    """Images `(N, C, H, W)`, normalised fp32, and their targets (first axis N)."""

    images: Tensor
    targets: Tensor


class Task(ABC):
    """What a network is trained for and judged by."""

    name: str
    """Stable name; with `seed` it tells one task's checkpoints from another's."""
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
    train_images: int
    """Images of one epoch."""
    seed: int

    @abstractmethod
    def train_batch(self, step: int, size: int) -> Samples:
        """The `step`-th batch (from 0) of `size` training images, shuffled and augmented.

        Equal arguments give equal batches; epochs follow one another without a gap, so a batch may
        hold the end of one and the start of the next.
        """

    @abstractmethod
    def calibration_images(self, count: int) -> Tensor:
        """`count` training images `(count, C, H, W)` to re-estimate batch statistics on."""

    @abstractmethod
    def validation(self) -> Samples:
        """Held out of the training set: what a search may look at."""

    @abstractmethod
    def test(self) -> Samples:
        """Unseen sources: looked at once, for the final figures."""

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Mean training loss of a batch, a scalar; differentiable in `outputs`."""

    @abstractmethod
    def metric(self, outputs: Tensor, targets: Tensor) -> float:
        """The figure a user reads (e.g. accuracy, 0 to 1), better upwards or downwards."""

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        """The metric turned so that higher is better: what a search maximises."""
        value = self.metric(outputs, targets)
        return value if self.higher_is_better else -value
