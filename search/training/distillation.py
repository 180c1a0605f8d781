"""Knowledge distillation: what is trained learns a teacher's outputs beside the labels.

The teacher is another network, kept as it is, or a super-network's own largest one. Sources:
Hinton et al. 2015 for the loss; Yu and Huang 2019, section 3.3, for the largest one as teacher.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from netadapt.search.ordered_dropout import OrderedDropout
from netadapt.search.training.checkpoint import content_digest
from netadapt.search.training.ordered_dropout import OrderedDropoutStep
from netadapt.search.training.settings import DistillationSettings
from netadapt.search.training.step import OutputStep, StepInput, SupernetStep, described

if TYPE_CHECKING:
    from netadapt.search.space import Space


class Teacher(Protocol):
    """Gives outputs to learn from, without a gradient."""

    def __call__(self, given: StepInput, /) -> Tensor: ...

    def describe(self) -> str: ...


class NetworkTeacher:
    """A trained network that takes the task's images; it is left as it is.

    Its weights have to be where the student's are.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    @torch.no_grad()
    def __call__(self, given: StepInput, /) -> Tensor:
        training = self.network.training
        self.network.eval()
        try:
            outputs: Tensor = self.network(given.batch.images)
        finally:
            self.network.train(training)
        return outputs

    def describe(self) -> str:
        return f"network {content_digest(self.network)}"


class LargestTeacher:
    """The largest network of the super-network that is trained, as it is by now.

    It normalises by the batch's own statistics, as its students do: the running averages are those
    of a mixture of networks and fit none of them.
    """

    def __init__(self, space: Space) -> None:
        self._full = space.full()

    @torch.no_grad()
    def __call__(self, given: StepInput, /) -> Tensor:
        outputs: Tensor = given.module(given.batch.images, self._full)
        return outputs

    def describe(self) -> str:
        return "largest"


class DistillationStep(SupernetStep):
    """`(1 - weight) * labels' loss + weight * teacher's loss` of a student's outputs.

    Parameters
    ----------
    student: what is trained: `PlainStep` for a network, `OrderedDropoutStep` for a super-network.
    teacher: what gives the outputs to learn.
    settings: weight and temperature; `sampling` counts for `of` alone.
    """

    settings_class: ClassVar[type] = DistillationSettings

    def __init__(
        self, student: OutputStep, teacher: Teacher, settings: DistillationSettings
    ) -> None:
        self.student = student
        self.teacher = teacher
        self.settings = settings

    @classmethod
    def of(cls, settings: DistillationSettings, space: Space) -> Self:
        student = OrderedDropoutStep(OrderedDropout(space, settings.sampling))
        return cls(student, LargestTeacher(space), settings)

    def __call__(self, given: StepInput, /) -> Tensor:
        weight = self.settings.weight
        taught = self.teacher(given)
        outputs = self.student.outputs(given)
        loss = given.loss(outputs)
        return (1 - weight) * loss + weight * soft_loss(outputs, taught, self.settings.temperature)

    def describe(self) -> str:
        parts = (described("distillation", self.settings), self.student.describe())
        return "; ".join((*parts, self.teacher.describe()))


def soft_loss(outputs: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """Mean cross entropy of `outputs` against a teacher's, a scalar.

    Both are logits `(B, classes)`, divided by the temperature; the result is multiplied by its
    square. `taught` gets no gradient.
    """
    wanted = (taught.detach() / temperature).softmax(1)
    return functional.cross_entropy(outputs / temperature, wanted) * temperature**2
