"""The seam between the training loop and what is learnt in a step: a batch in, a loss out.

The loop owns the weights' updates, checkpoints and all seeds; a step owns which sub-networks see
the batch and what they are to learn from it. It keeps no state of its own between batches, so that
a resumed training needs nothing of it.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from netadapt.android_runner.plugins import Registry

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from netadapt.search.space import Space
    from netadapt.search.task import Samples, Task


@dataclass(frozen=True, slots=True)
class StepInput:
    """What a step is given.

    Parameters
    ----------
    module: what is trained, in training mode: a network or a super-network.
    task: whose loss it is.
    batch: images `(B, C, H, W)` and targets, where the module is and laid out like it.
    label_smoothing: for the task's loss.
    rng: seeded from (seed, number of the step) alone; all randomness comes from it, or from
        torch's own generator, which is seeded from it.
    progress: share of the training that is done, from 0 to below 1.
    part: (number, of how many) parts that the step's images come in, each with an `rng` in the same
        state: what is drawn for each image is drawn for all of them, and the part's own taken.
    """

    module: nn.Module
    task: Task
    batch: Samples
    label_smoothing: float
    rng: np.random.Generator
    progress: float
    part: tuple[int, int] = (0, 1)

    def loss(self, outputs: Tensor) -> Tensor:
        """The task's loss of `outputs` for this batch, a scalar."""
        return self.task.loss(outputs, self.batch.targets, self.label_smoothing)


class Step(ABC):
    """From a batch to the loss whose gradient the loop follows."""

    @abstractmethod
    def __call__(self, given: StepInput, /) -> Tensor:
        """A finite scalar, differentiable in the module's parameters."""

    @abstractmethod
    def describe(self) -> str:
        """Stable text of what decides the loss beside batch, weights and `rng`.

        A checkpoint is resumed with the step that it began with only.
        """


class OutputStep(Step):
    """A step that asks for one output an image, and takes the task's loss of them."""

    @abstractmethod
    def outputs(self, given: StepInput) -> Tensor:
        """Of the trained module, first axis B."""

    def __call__(self, given: StepInput, /) -> Tensor:
        return given.loss(self.outputs(given))


class SupernetStep(Step):
    """A step that trains a super-network; a run file names it and has its settings."""

    settings_class: ClassVar[type]
    """The frozen dataclass of its settings; every field has a default."""

    @classmethod
    @abstractmethod
    def of(cls, settings: Any, space: Space) -> Self:
        """The step for a super-network of `space`; `settings` is a `settings_class`."""


STEPS: Registry[SupernetStep] = Registry(
    "training step",
    SupernetStep,
    {
        "ordered_dropout": "netadapt.search.training.ordered_dropout:OrderedDropoutStep",
        "distillation": "netadapt.search.training.distillation:DistillationStep",
        "sandwich": "netadapt.search.training.sandwich:SandwichStep",
    },
    {
        "ordered_dropout": "netadapt.search.training.settings:OrderedDropoutSettings",
        "distillation": "netadapt.search.training.settings:DistillationSettings",
        "sandwich": "netadapt.search.training.settings:SandwichSettings",
    },
)
"""How a super-network can be trained, by name."""


def described(name: str, settings: object) -> str:
    """A step's `describe` from its name and its settings."""
    return f"{name} {json.dumps(asdict(settings), default=str)}"  # type: ignore[call-overload]
