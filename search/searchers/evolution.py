"""Regularised evolution within the budget, from random networks or from a descent's candidates.

As single-path searches and Once-for-all do it: parents are the best of a few drawn from a
population, children are mutated or crossed, and each child is brought to the budget before it is
proposed. The population ages (Real et al. 2019): the newest networks are it, whatever their scores,
so that one lucky score does not stay for ever. All numbers are assumptions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from annotated_types import Interval

from netadapt.android_runner.bounds import check_bounds
from netadapt.search.errors import InvalidSettingError
from netadapt.search.searchers.base import Aims, Outcome, Round, Rounds, Searcher
from netadapt.search.searchers.drafts import (
    TOLERANCE,
    Draft,
    Loads,
    brought_to_budget,
    fresh_drafts,
    meets,
)
from netadapt.search.searchers.mcd import McdSettings, MultiLayerCoordinateDescent

if TYPE_CHECKING:
    from netadapt.search.space import Arch
    from netadapt.search.trials import Trial


@dataclass(frozen=True, slots=True)
class Breeding:
    """How children come from parents.

    Parameters
    ----------
    round_size: children an iteration, whose best is measured.
    population: the newest this many networks may become parents.
    tournament: a parent is the best of this many, drawn from the population.
    crossover: share of the children that have two parents, each dimension from either.
    mutation: chance of each dimension of a child to take another value, drawn uniformly; one
        dimension at least does in a child of one parent.
    retries: rounds of new children for those that were there before or left the budget unused.

    Raises `InvalidSettingError`.
    """

    round_size: Annotated[int, Interval(ge=1, le=1_000_000)] = 25
    population: Annotated[int, Interval(ge=2, le=1_000_000)] = 50
    tournament: Annotated[int, Interval(ge=1, le=1_000_000)] = 10
    crossover: Annotated[float, Interval(ge=0, le=1)] = 0.5
    mutation: Annotated[float, Interval(gt=0, le=1)] = 0.1
    retries: Annotated[int, Interval(ge=0, le=1_000)] = 4

    def __post_init__(self) -> None:
        check_bounds(self, InvalidSettingError)


@dataclass(frozen=True, slots=True)
class EvolutionSettings:
    """How many archs are scored, and how they are bred.

    Raises `InvalidSettingError`.
    """

    evaluations: Annotated[int, Interval(ge=1, le=1_000_000)] = 1000
    breeding: Breeding = field(default_factory=Breeding)

    def __post_init__(self) -> None:
        check_bounds(self, InvalidSettingError)


@dataclass(frozen=True, slots=True)
class DescentEvolutionSettings:
    """How many archs are scored, and how many of them on the way down to the budget.

    Parameters
    ----------
    evaluations: archs scored in all.
    descent_share: of them, for the descent.
    descent: how it descends; its own `evaluations` stay unset, and `candidates` does not count.
    breeding: how evolution goes on from the descent's candidates.

    Raises `InvalidSettingError`.
    """

    evaluations: Annotated[int, Interval(ge=2, le=1_000_000)] = 1000
    descent_share: Annotated[float, Interval(gt=0, lt=1)] = 1 / 3
    descent: McdSettings = field(default_factory=McdSettings)
    breeding: Breeding = field(default_factory=Breeding)

    def __post_init__(self) -> None:
        check_bounds(self, InvalidSettingError)
        if self.descent.evaluations is not None:
            raise InvalidSettingError(
                "descent.evaluations stays unset where evolution follows, got "
                f"{self.descent.evaluations}; set evaluations and descent_share"
            )


class Evolution(Searcher):
    """Evolution from random networks; the most accurate one is kept."""

    name = "evolution"
    settings: EvolutionSettings
    settings_class: ClassVar[type] = EvolutionSettings

    @property
    def best_of(self) -> int:
        return self.settings.evaluations

    def forecast(self, goal: float) -> tuple[int, int]:
        total = self.settings.evaluations
        return -(-total // self.settings.breeding.round_size), total

    def rounds(self, aims: Aims, rng: np.random.Generator) -> Rounds:
        herd = _Herd(self, self.settings.breeding, self.settings.evaluations, aims, rng)
        yield from herd.rounds(self.space.reference(), 0)


class DescentThenEvolution(Searcher):
    """Multi-layer coordinate descent to the budget, then evolution from its last candidates."""

    name = "mcd_evolution"
    settings: DescentEvolutionSettings
    settings_class: ClassVar[type] = DescentEvolutionSettings

    @property
    def best_of(self) -> int:
        return self.settings.evaluations

    def forecast(self, goal: float) -> tuple[int, int]:
        settings, descent = self.settings, self._descent()
        bred = settings.evaluations - self._spent_descending
        down, _ = descent.forecast(goal)
        return down + -(-bred // settings.breeding.round_size), settings.evaluations

    @property
    def _spent_descending(self) -> int:
        return max(1, round(self.settings.evaluations * self.settings.descent_share))

    def _descent(self) -> MultiLayerCoordinateDescent:
        limited = replace(self.settings.descent, evaluations=self._spent_descending)
        return MultiLayerCoordinateDescent(self.space, limited)

    def rounds(self, aims: Aims, rng: np.random.Generator) -> Rounds:
        breeding, total = self.settings.breeding, self.settings.evaluations
        herd = _Herd(self, breeding, total, aims, rng)
        bred_rounds = -(-(total - self._spent_descending) // breeding.round_size)
        descent = self._descent().rounds(aims, rng)
        proposed = next(descent)
        while True:
            left = proposed.iterations_left + bred_rounds
            outcome = yield replace(proposed, iterations_left=left)
            herd.join(outcome.trials)
            if not proposed.largest and (proposed.targets <= 1 + TOLERANCE).all():
                break  # it is down
            proposed = descent.send(replace(outcome, again=False))
            if not proposed.drafts:
                break
        yield from herd.rounds(outcome.arch, outcome.spent)


class _Herd:
    """The population of a search under way, and what it proposes."""

    def __init__(
        self,
        searcher: Searcher,
        breeding: Breeding,
        evaluations: int,
        aims: Aims,
        rng: np.random.Generator,
    ) -> None:
        self._space = searcher.space
        self._breeding = breeding
        self._evaluations = evaluations
        self._aims = aims
        self._rng = rng
        self._newest: deque[Trial] = deque(maxlen=breeding.population)
        self._tried: set[Arch] = set()

    def join(self, trials: Sequence[Trial]) -> None:
        """Scored networks grow up; the oldest make room for them."""
        self._newest.extend(trials)
        self._tried.update(trial.arch for trial in trials)

    def rounds(self, middle: Arch, spent: int) -> Rounds:
        """One after the other until nobody asks any more, around `middle`."""
        size = self._breeding.round_size
        while True:
            limits = self._aims.floors(middle)
            wanted = min(size, max(self._evaluations - spent, 1))
            drafts = self._round(wanted, limits)
            left = max(-(-(self._evaluations - spent) // size) - 1, 0)
            outcome: Outcome = yield Round(tuple(drafts), limits, left)
            middle, spent = outcome.arch, outcome.spent
            self.join(outcome.trials)

    def _round(self, count: int, limits: Loads) -> list[Draft]:
        """`count` networks that use the budgets and were not there before, or the nearest."""
        parents = self._parents(limits)

        def born(missing: int) -> list[Draft]:
            children = [self._child(parents) for _ in range(missing)]
            return brought_to_budget(self._space, self._aims.loads, children, limits, self._rng)

        chosen, spare = fresh_drafts(born, count, limits, self._breeding.retries, self._tried)
        return chosen or spare[:count]

    def _parents(self, limits: Loads) -> list[Trial]:
        """Of the newest those that meet the budgets: what is larger scores better and is no use.

        All of them where none does: right after a descent whose last step missed.
        """
        newest = list(self._newest)
        if not newest:
            return []
        loads = self._aims.loads([trial.arch for trial in newest])
        # The aim moves a little with every measurement; who met it before is still a parent.
        bound = np.maximum(limits, 1.0)
        inside = [t for t, row in zip(newest, loads, strict=True) if meets(row, bound)]
        return inside or newest

    def _child(self, parents: Sequence[Trial]) -> Arch:
        rng, breeding = self._rng, self._breeding
        if len(parents) < 2:
            return self._space.random(rng)
        values = self._values(self._parent(parents))
        crossed = rng.random() < breeding.crossover
        if crossed:
            other = self._values(self._parent(parents))
            either = rng.random(len(values)) < 0.5
            values = [a if first else b for a, b, first in zip(values, other, either, strict=True)]
        changed = rng.random(len(values)) < breeding.mutation
        if not crossed and not changed.any():
            changed[rng.integers(len(values))] = True
        for i in np.flatnonzero(changed):
            options = self._space.dimensions[i].values
            values[i] = options[rng.integers(len(options))]
        return self._space.point(values)

    def _parent(self, parents: Sequence[Trial]) -> Arch:
        drawn = self._rng.choice(
            len(parents), min(self._breeding.tournament, len(parents)), replace=False
        )
        return max((parents[i] for i in drawn), key=lambda trial: trial.score).arch

    def _values(self, arch: Arch) -> list[int]:
        """One a dimension; what is removed has any value there is where it comes back."""
        values = []
        for dimension in self._space.dimensions:
            value, options = self._space.value(arch, dimension), dimension.values
            if value is None or value not in options:
                value = options[self._rng.integers(len(options))]
            values.append(value)
        return values
