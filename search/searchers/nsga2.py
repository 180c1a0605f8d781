"""NSGA-II within the budget: not one best network but the front of score, cost and size.

Deb et al. 2002, by pymoo, the extra `netadapt[pareto]`: `netadapt.search.searchers.pareto` has what
imports it. A search has one budget, which its measurements have to come to, so the front reaches up
to the budget, and a quarter of the networks is made to use it (assumptions).
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Interval

from netadapt.android_runner.bounds import check_bounds
from netadapt.android_runner.text import printable
from netadapt.search.errors import InvalidSettingError
from netadapt.search.searchers.base import Aims, Round, Rounds, Searcher

if TYPE_CHECKING:
    import numpy as np

    from netadapt.search.space import Space


@dataclass(frozen=True, slots=True)
class Nsga2Settings:
    """How many archs are scored, and how they are bred; all numbers are assumptions.

    Parameters
    ----------
    evaluations: archs scored in all.
    population: archs of the first iteration, and how many survive each.
    round_size: children of the others, whose most accurate one is measured.
    at_budget: share of an iteration's networks that grow until they use the budget; the others may
        leave any part of it.
    crossover: share of the children that have two parents, each dimension from either.
    mutation: chance of each dimension of a child to take another value, drawn uniformly.
    retries: rounds of new children for those that were there before.

    Raises `InvalidSettingError`.
    """

    evaluations: Annotated[int, Interval(ge=1, le=1_000_000)] = 1000
    population: Annotated[int, Interval(ge=2, le=1_000_000)] = 50
    round_size: Annotated[int, Interval(ge=1, le=1_000_000)] = 25
    at_budget: Annotated[float, Interval(gt=0, le=1)] = 0.25
    crossover: Annotated[float, Interval(ge=0, le=1)] = 0.5
    mutation: Annotated[float, Interval(gt=0, le=1)] = 0.1
    retries: Annotated[int, Interval(ge=0, le=1_000)] = 4

    def __post_init__(self) -> None:
        check_bounds(self, InvalidSettingError)


class Nsga2(Searcher):
    """The front of score, constrained metrics and parameters; its most accurate one is kept.

    A search that is resumed goes through its recorded rounds once more, which brings pymoo's state
    to where it was.

    Raises `InvalidSettingError` where pymoo is not installed.
    """

    name = "nsga2"
    settings: Nsga2Settings
    settings_class: ClassVar[type] = Nsga2Settings

    def __init__(self, space: Space, settings: Any = None) -> None:
        super().__init__(space, settings)
        try:
            importlib.import_module("pymoo")
        except ImportError as error:
            raise InvalidSettingError(
                f"the searcher nsga2 is pymoo's, it cannot be imported ({printable(str(error))}); "
                "pip install 'netadapt[pareto]', or set another searcher"
            ) from error

    @property
    def best_of(self) -> int:
        return self.settings.evaluations

    def forecast(self, goal: float) -> tuple[int, int]:
        total = self.settings.evaluations
        return 1 + self._rounds_left(min(self.settings.population, total)), total

    def _rounds_left(self, spent: int) -> int:
        return max(-(-(self.settings.evaluations - spent) // self.settings.round_size), 0)

    def rounds(self, aims: Aims, rng: np.random.Generator) -> Rounds:
        from netadapt.search.searchers.pareto import Generations

        generations = Generations(self.space, self.settings, aims, rng)
        middle, spent, count = self.space.reference(), 0, self.settings.population
        while True:
            limits = aims.floors(middle)
            count = min(count, max(self.settings.evaluations - spent, 1))
            drafts = generations.ask(count, limits)
            outcome = yield Round(tuple(drafts), limits, self._rounds_left(spent + count))
            middle, spent, count = outcome.arch, outcome.spent, self.settings.round_size
            generations.tell(outcome.trials)
