"""Single-layer coordinate descent, as NetAdaptV1 searches: the baseline of the paper's tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from netadapt.search.searchers.base import Draft, Landing, Loads, Loop
from netadapt.search.searchers.coordinate_descent import AnySchedule, CoordinateDescent, Schedule

if TYPE_CHECKING:
    import numpy as np

    from netadapt.search.metrics import Constraint
    from netadapt.search.space import Space


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

    def __init__(
        self,
        space: Space,
        constraints: Sequence[Constraint],
        settings: SingleLayerSettings | None = None,
        *,
        seed: int,
        landing: Landing | None = None,
        loop: Loop | None = None,
    ) -> None:
        self._settings = settings or SingleLayerSettings()
        super().__init__(space, constraints, self._settings.schedule, seed, landing, loop)

    def settings(self) -> SingleLayerSettings:
        return self._settings

    def _count(self, spent: int, iterations_left: int) -> int:
        return len(self.space.dimensions)

    def _propose(
        self, base: Draft, targets: Loads, origin: Loads, count: int, rng: np.random.Generator
    ) -> list[Draft]:
        options = [self.space.smaller(base.arch, d) for d in self.space.dimensions]
        limits = [targets] * len(options)
        drafts = [d for d in self._first_meeting(options, limits) if d is not None]
        drafts = drafts or [d for d in self._nearest(options, limits) if d is not None]
        return list({draft.arch: draft for draft in drafts}.values())
