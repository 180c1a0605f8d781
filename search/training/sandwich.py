"""The sandwich rule: every batch trains the largest, the smallest and some networks between.

Source: Yu and Huang 2019, "Universally Slimmable Networks and Improved Training Techniques",
section 3. The mean of the networks' losses is followed, where the paper adds their gradients up
(assumption: so one learning rate serves any number of networks).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch import Tensor

from netadapt.search.archs import smallest
from netadapt.search.training.distillation import soft_loss
from netadapt.search.training.settings import SandwichSettings
from netadapt.search.training.step import StepInput, SupernetStep, described

if TYPE_CHECKING:
    from netadapt.search.space import Space


class SandwichStep(SupernetStep):
    """Mean loss of 2 + `settings.random` sub-networks on the same batch, each at its own size.

    The largest learns the labels; so do the others, or the largest one's outputs.
    """

    settings_class: ClassVar[type] = SandwichSettings

    def __init__(self, settings: SandwichSettings, space: Space) -> None:
        self.settings = settings
        self.space = space
        self._full, self._smallest = space.full(), smallest(space)

    @classmethod
    def of(cls, settings: SandwichSettings, space: Space) -> Self:
        return cls(settings, space)

    def __call__(self, given: StepInput, /) -> Tensor:
        drawn = [self.space.random(given.rng) for _ in range(self.settings.random)]
        images = given.batch.images
        largest: Tensor = given.module(images, self._full)
        losses = [given.loss(largest)]
        for arch in (self._smallest, *drawn):
            outputs: Tensor = given.module(images, arch)
            losses.append(
                soft_loss(outputs, largest, self.settings.temperature)
                if self.settings.distil
                else given.loss(outputs)
            )
        return torch.stack(losses).mean()

    def describe(self) -> str:
        return described("sandwich", self.settings)
