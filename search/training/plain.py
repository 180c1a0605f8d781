"""One network learns the labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netadapt.search.training.step import OutputStep, StepInput

if TYPE_CHECKING:
    from torch import Tensor


class PlainStep(OutputStep):
    """The task's loss of the network's outputs."""

    def outputs(self, given: StepInput) -> Tensor:
        outputs: Tensor = given.module(given.batch.images)
        return outputs

    def describe(self) -> str:
        return "plain"
