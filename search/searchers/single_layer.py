"""Single-layer coordinate descent, as NetAdaptV1 searches: the baseline of the paper's tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from netadapt.search.searchers.base import Aims
from netadapt.search.searchers.coordinate_descent import AnySchedule, CoordinateDescent, Schedule
from netadapt.search.searchers.drafts import Draft, Loads, first_meeting, nearest

if TYPE_CHECKING:
    import numpy as np


NETADAPT_V1 = Schedule(initial_reduction=0.025, decay=0.96)
"""The schedule of its public code."""


@dataclass(frozen=True, slots=True)
class SingleLayerSettings:
    """NetAdaptV1's own schedule; where it ends above the budget, its first step is raised."""

    schedule: AnySchedule = NETADAPT_V1


class SingleLayerCoordinateDescent(CoordinateDescent):
    """One candidate a layer: that layer alone shrinks until the network meets the target.

    Every dimension of the space counts as a layer, kernel sizes included, so that all searchers
    look at the same space (assumption; NetAdaptV1 knew widths only). The short fine-tuning of each
    candidate is the evaluator's business.
    """

    name = "single_layer"
    settings: SingleLayerSettings
    settings_class: ClassVar[type] = SingleLayerSettings

    @property
    def schedule(self) -> AnySchedule:
        return self.settings.schedule

    def count(self, spent: int, iterations_left: int) -> int:
        return len(self.space.dimensions)

    def forecast(self, goal: float) -> tuple[int, int]:
        steps = self.steps_to(goal)
        return steps, steps * len(self.space.dimensions)

    def propose(
        self,
        aims: Aims,
        base: Draft,
        targets: Loads,
        origin: Loads,
        count: int,
        rng: np.random.Generator,
    ) -> list[Draft]:
        options = [self.space.smaller(base.arch, d) for d in self.space.dimensions]
        limits = [targets] * len(options)
        drafts = [d for d in first_meeting(aims.loads, options, limits) if d is not None]
        if not drafts:
            drafts = [d for d in nearest(aims.loads, options, limits) if d is not None]
        return list({draft.arch: draft for draft in drafts}.values())
