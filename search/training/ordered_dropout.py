"""Ordered dropout (NetAdaptV2): each image of a batch trains a sub-network of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from netadapt.search.ordered_dropout import OrderedDropout
from netadapt.search.training.settings import OrderedDropoutSettings
from netadapt.search.training.step import OutputStep, StepInput, SupernetStep, described

if TYPE_CHECKING:
    from torch import Tensor

    from netadapt.search.space import Space


class OrderedDropoutStep(OutputStep, SupernetStep):
    """The task's loss of one forward pass with as many archs as images.

    Parameters
    ----------
    sampler: draws them; its settings tell one training from another.
    """

    settings_class: ClassVar[type] = OrderedDropoutSettings

    def __init__(self, sampler: OrderedDropout) -> None:
        self.sampler = sampler

    @classmethod
    def of(cls, settings: OrderedDropoutSettings, space: Space) -> Self:
        return cls(OrderedDropout(space, settings))

    def outputs(self, given: StepInput) -> Tensor:
        images, (part, parts) = given.batch.images, given.part
        archs = self.sampler(parts * len(images), given.rng, given.progress)
        if isinstance(archs, Sequence):
            archs = archs[part * len(images) : (part + 1) * len(images)]
        outputs: Tensor = given.module(images, archs)
        return outputs

    def describe(self) -> str:
        return described("ordered_dropout", self.sampler.settings)
