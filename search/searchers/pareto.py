"""pymoo's NSGA-II over the dimensions of a space. Imported where a search needs it only.

A point of pymoo's is one place in each dimension's values, integers `(D,)`; `N` points are
`(N, D)`. What belongs to a removed block keeps its place, in case the block comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.moo.nsga2 import NSGA2, binary_tournament
from pymoo.core.duplicate import DuplicateElimination
from pymoo.core.mating import Mating
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.repair import Repair
from pymoo.core.termination import NoTermination
from pymoo.operators.crossover.ux import UniformCrossover
from pymoo.operators.sampling.rnd import IntegerRandomSampling
from pymoo.operators.selection.tournament import TournamentSelection

from netadapt.search.searchers.drafts import Draft, Loads, brought_to_budget, meets

if TYPE_CHECKING:
    from netadapt.search.searchers.base import Aims
    from netadapt.search.searchers.nsga2 import Nsga2Settings
    from netadapt.search.space import Arch, Space
    from netadapt.search.trials import Trial

Places = NDArray[np.int64]


class Generations:
    """A search under way: children to score, and what became of them.

    Objectives are the score, each constrained metric and the parameters; what is over a budget is
    infeasible, and worse than anything that is not.
    """

    def __init__(
        self, space: Space, settings: Nsga2Settings, aims: Aims, rng: np.random.Generator
    ) -> None:
        self._space = space
        self._aims = aims
        self._at_budget = settings.at_budget
        self._limits: Loads = aims.floors()
        self._drafts: dict[Arch, Draft] = {}
        self._scores: dict[Arch, float] = {}
        self._asked = Population.empty()
        repair, fresh = _BroughtToBudget(self._brought), _Fresh(self._is_tried, self._arch)
        self._algorithm = NSGA2(
            pop_size=settings.population,
            sampling=IntegerRandomSampling(),
            repair=repair,
            eliminate_duplicates=fresh,
            mating=Mating(
                TournamentSelection(func_comp=binary_tournament),
                UniformCrossover(prob=settings.crossover),
                _AnyValue(settings.mutation),
                repair=repair,
                eliminate_duplicates=fresh,
                n_max_iterations=1 + settings.retries,
            ),
        )
        largest = [len(dimension.values) - 1 for dimension in space.dimensions]
        problem = Problem(
            n_var=len(largest),
            n_obj=2 + len(self._limits),
            n_ieq_constr=1,
            xl=np.zeros(len(largest), dtype=np.int64),
            xu=np.array(largest),
            vtype=int,
        )
        seed = int(rng.integers(2**31))
        self._algorithm.setup(problem, seed=seed, termination=NoTermination())

    def ask(self, count: int, limits: Loads) -> list[Draft]:
        """About `count` networks that were not there before, within `limits` if any is."""
        self._limits = limits
        self._drafts.clear()
        if not self._algorithm.is_initialized:
            self._algorithm.pop_size = count
        self._algorithm.n_offsprings = count
        self._asked = self._algorithm.ask()
        if self._asked is None:
            return []
        drafts = [self._drafts[self._arch(places)] for places in self._asked.get("X")]
        return [draft for draft in drafts if meets(draft.loads, limits)] or drafts

    def tell(self, trials: Sequence[Trial]) -> None:
        """Children with their scores; the best of them and of their elders survive."""
        self._scores.update((trial.arch, trial.score) for trial in trials)
        scored = [self._is_tried(self._arch(places)) for places in self._asked.get("X")]
        children = self._asked[scored]
        # All anew: measurements move what is predicted of the elders too.
        everyone = Population.merge(self._algorithm.pop, children)
        archs = [self._arch(places) for places in everyone.get("X")]
        loads = self._aims.loads(archs)
        scores = [-self._scores[arch] for arch in archs]
        params = [self._space.params(arch) for arch in archs]
        everyone.set("F", np.column_stack([scores, loads, params]))
        # The aim moves a little with every measurement; who met it before is still a parent.
        over = np.maximum(loads - np.maximum(self._limits, 1.0), 0).sum(axis=1, keepdims=True)
        everyone.set("G", over)
        everyone.set("CV", over)
        self._algorithm.tell(infills=children)

    def _arch(self, places: Places) -> Arch:
        dimensions = self._space.dimensions
        return self._space.point([d.values[i] for d, i in zip(dimensions, places, strict=True)])

    def _is_tried(self, arch: Arch) -> bool:
        return arch in self._scores

    def _brought(self, points: Places, rng: np.random.Generator) -> Places:
        """Points within the limits, the first of them using these."""
        archs = [self._arch(places) for places in points]
        growing = round(self._at_budget * len(archs)) or 1
        drafts = brought_to_budget(
            self._space, self._aims.loads, archs, self._limits, rng, growing=growing
        )
        points = points.copy()
        for places, draft in zip(points, drafts, strict=True):
            self._drafts[draft.arch] = draft
            for number, dimension in enumerate(self._space.dimensions):
                value = self._space.value(draft.arch, dimension)
                if value in dimension.values:
                    places[number] = dimension.values.index(value)
        return points


class _BroughtToBudget(Repair):
    def __init__(self, bring: Callable[[Places, np.random.Generator], Places]) -> None:
        super().__init__()
        self._bring = bring

    def _do(self, problem: Any, points: Places, *, random_state: Any, **kwargs: Any) -> Places:
        return self._bring(points, random_state)


class _AnyValue(Mutation):
    """Each dimension takes any of its values by a chance."""

    def __init__(self, chance: float) -> None:
        super().__init__()
        self._chance = chance

    def _do(self, problem: Any, points: Places, *, random_state: Any, **kwargs: Any) -> Places:
        drawn = random_state.integers(problem.xl, problem.xu + 1, size=points.shape)
        return np.where(random_state.random(points.shape) < self._chance, drawn, points)


class _Fresh(DuplicateElimination):
    """Leaves the points whose network was not scored yet and does not stand before them."""

    def __init__(self, is_tried: Callable[[Arch], bool], arch: Callable[[Places], Arch]) -> None:
        super().__init__()
        self._is_tried = is_tried
        self._arch = arch

    def do(self, population: Any, *others: Any, **kwargs: Any) -> Any:
        seen = {self._arch(one.X) for other in others for one in other}
        left = []
        for number, one in enumerate(population):
            arch = self._arch(one.X)
            if arch not in seen and not self._is_tried(arch):
                left.append(number)
                seen.add(arch)
        return population[left]
