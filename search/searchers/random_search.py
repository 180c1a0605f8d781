"""Random networks that use the budget: the baseline every search has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from annotated_types import Interval

from netadapt.android_runner.bounds import check_bounds
from netadapt.search.errors import InvalidSettingError
from netadapt.search.searchers.base import Aims, Round, Rounds, Searcher
from netadapt.search.searchers.drafts import Draft, Loads, brought_to_budget, fresh_drafts

if TYPE_CHECKING:
    from netadapt.search.space import Arch


@dataclass(frozen=True, slots=True)
class RandomSettings:
    """How many archs are scored, and how many of them a round (an iteration) has.

    Parameters
    ----------
    evaluations: archs scored in all.
    round_size: of them a round, whose best is measured.
    retries: rounds of new draws for archs that came out twice or left the budget unused.

    Raises `InvalidSettingError`.
    """

    evaluations: Annotated[int, Interval(ge=1, le=1_000_000)] = 1000
    round_size: Annotated[int, Interval(ge=1, le=1_000_000)] = 100
    retries: Annotated[int, Interval(ge=0, le=1_000)] = 4

    def __post_init__(self) -> None:
        check_bounds(self, InvalidSettingError)

    @property
    def rounds(self) -> int:
        return -(-self.evaluations // self.round_size)


class RandomSearch(Searcher):
    """Random networks brought to the budget by random changes; the most accurate one is kept.

    A network of `space.random` that is over a budget has random dimensions shrunk to random values
    until it fits; then random dimensions grow to random values that still fit, until it uses the
    budget. The best of each round is measured, and the correction moves the next round.
    """

    name = "random"
    settings: RandomSettings
    settings_class: ClassVar[type] = RandomSettings

    @property
    def best_of(self) -> int:
        return self.settings.evaluations

    def forecast(self, goal: float) -> tuple[int, int]:
        return self.settings.rounds, self.settings.evaluations

    def rounds(self, aims: Aims, rng: np.random.Generator) -> Rounds:
        middle, spent, number = self.space.reference(), 0, 0
        tried: set[Arch] = set()
        while True:
            floors = aims.floors(middle)
            wanted = min(self.settings.round_size, max(self.settings.evaluations - spent, 1))
            drafts = self._round(aims, wanted, floors, tried, rng)
            left = max(self.settings.rounds - number - 1, 0)
            outcome = yield Round(tuple(drafts), floors, left)
            middle, spent, number = outcome.arch, outcome.spent, number + 1

    def _round(
        self, aims: Aims, count: int, limits: Loads, tried: set[Arch], rng: np.random.Generator
    ) -> list[Draft]:
        """`count` networks that use the budgets and were not there before, or the nearest."""
        chosen, spare = fresh_drafts(
            lambda missing: self._walk(aims, missing, limits, rng),
            count,
            limits,
            self.settings.retries,
            tried,
        )
        tried.update(draft.arch for draft in (*chosen, *spare))
        return chosen or spare[:count]

    def _walk(self, aims: Aims, count: int, limits: Loads, rng: np.random.Generator) -> list[Draft]:
        archs = [self.space.random(rng) for _ in range(count)]
        return brought_to_budget(self.space, aims.loads, archs, limits, rng)
