"""What a differentiable search proposes in the end: archs drawn from what it learnt."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from netadapt.search.dmasking.settings import DMaskingSettings
from netadapt.search.searchers.base import Aims, Round, Rounds, Searcher
from netadapt.search.searchers.drafts import (
    Draft,
    Loads,
    brought_to_budget,
    fresh_drafts,
)

if TYPE_CHECKING:
    from netadapt.search.dmasking.architecture import Architecture
    from netadapt.search.space import Arch, Space

NUDGED = 4
"""So many of the likeliest are brought to the budget as well: perhaps none drawn uses it."""


class DrawnArchs(Searcher):
    """The likeliest archs of `architecture` that use the budget, the most likely first.

    The published search takes the likeliest arch whatever it takes; here the budget is met as
    measured, so that those next to it are asked as well, and scored by the weights of the search.
    """

    name = "dmasking"
    settings: DMaskingSettings
    settings_class: ClassVar[type] = DMaskingSettings

    def __init__(
        self, space: Space, architecture: Architecture, settings: DMaskingSettings | None = None
    ) -> None:
        super().__init__(space, settings)
        self._architecture = architecture

    @property
    def best_of(self) -> int:
        return self.settings.candidates

    def forecast(self, goal: float) -> tuple[int, int]:
        return 1, self.settings.candidates

    def rounds(self, aims: Aims, rng: np.random.Generator) -> Rounds:
        middle: Arch = self._architecture.likeliest()
        tried: set[Arch] = set()
        while True:
            floors = aims.floors(middle)
            drafts = self._round(aims, floors, tried, rng)
            outcome = yield Round(tuple(drafts), floors, 0)
            middle = outcome.arch

    def _round(
        self, aims: Aims, limits: Loads, tried: set[Arch], rng: np.random.Generator
    ) -> list[Draft]:
        wanted = self.settings.candidates

        def propose(missing: int) -> list[Draft]:
            archs = self._architecture.draws(rng, self.settings.draws)
            drafts = [Draft(a, row) for a, row in zip(archs, aims.loads(archs), strict=True)]
            nudged = brought_to_budget(self.space, aims.loads, archs[:NUDGED], limits, rng)
            # The likeliest first, those that were changed last
            return [*drafts, *nudged]

        using, spare = fresh_drafts(propose, wanted, limits, 0, tried)
        chosen = (using or spare)[:wanted]
        tried.update(draft.arch for draft in chosen)
        return chosen
