"""What multi-layer and single-layer coordinate descent share: schedule and path.

Both start from the full network and shrink it step by step. Iteration t has a target for every
constraint, m_t = m_(t-1) - r0 * m_0 * d^(t-1) unless a geometric schedule is chosen, from the
previous *target* and not from the value that happened to be reached (assumption); the last target
is the budget itself. The network that an iteration settles on becomes the next one's start.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Interval

from netadapt.android_runner.bounds import check_bounds
from netadapt.search.errors import InvalidSettingError
from netadapt.search.searchers.base import Aims, Round, Rounds, Searcher
from netadapt.search.searchers.drafts import TOLERANCE, Draft, Loads


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the targets come down, as the paper is read: steps of m_0, each a little smaller.

    All numbers are assumptions.

    Parameters
    ----------
    initial_reduction: r0, the first step as a share of the full network's metric. It is raised
        where a decaying schedule would never reach the budget.
    decay: d, each step over the one before.
    iterations: spread the way to the budget over this many steps instead; r0 follows from it.
        Coarse single steps can make a search skip some of them.
    """

    initial_reduction: Annotated[float, Interval(gt=0, lt=1)] = 0.03
    decay: Annotated[float, Interval(gt=0, le=1)] = 0.98
    iterations: Annotated[int, Interval(ge=1, le=1_000_000)] | None = None

    _LONGEST: ClassVar[int] = 60

    def __post_init__(self) -> None:
        check_bounds(self, InvalidSettingError)

    def left(self, step: int, goal: float) -> float:
        """The share of m_0 that is left after `step` steps towards the share `goal`, or below."""
        return 1 - self._reduction(goal) * self._steps(step)

    def reaches(self, share: float, goal: float) -> bool:
        """Whether steps towards the share `goal` come to another `share` below it, too."""
        return self.decay == 1 or 1 - self._reduction(goal) / (1 - self.decay) < share

    def _reduction(self, goal: float) -> float:
        """r0 towards the share `goal`."""
        needed = 1 - goal
        if self.iterations is not None:
            return needed / self._steps(self.iterations)
        return max(self.initial_reduction, needed / self._steps(self._LONGEST))

    def _steps(self, count: int) -> float:
        return count if self.decay == 1 else (1 - self.decay**count) / (1 - self.decay)


@dataclass(frozen=True, slots=True)
class GeometricSchedule:
    """Targets that come down fast while the budget is far and finely when it is near.

    For budgets far below m_0, which slow 7x7 kernels make many times a whole reference network:
    steps of m_0's size would halve the network at the end, where every choice counts, and steps
    fine enough for the end would spend most iterations where anything may go (assumptions).

    Parameters
    ----------
    approach: share of the way to the budget, counted in logarithms, that each step covers.
    finest_step: share of the target before it that a step takes away at least.
    """

    approach: Annotated[float, Interval(gt=0, lt=1)] = 0.35
    finest_step: Annotated[float, Interval(gt=0, lt=1)] = 0.07

    def __post_init__(self) -> None:
        check_bounds(self, InvalidSettingError)

    def left(self, step: int, goal: float) -> float:
        """The share of m_0 that is left after `step` steps towards the share `goal`, or below."""
        left = 1.0
        for done in range(1, step + 1):
            nearing = goal ** (1 - (1 - self.approach) ** done)
            left = min(nearing, left * (1 - self.finest_step))
        return left

    def reaches(self, share: float, goal: float) -> bool:
        """Whether steps towards the share `goal` come to another `share` below it, too: they do."""
        return True


AnySchedule = Schedule | GeometricSchedule

LONGEST_FORECAST = 1000
"""Steps: a forecast looks no further ahead."""


class CoordinateDescent(Searcher):
    """Shrink the full network until it meets the budgets; `propose` makes the candidates."""

    @property
    @abstractmethod
    def schedule(self) -> AnySchedule: ...

    @abstractmethod
    def propose(
        self,
        aims: Aims,
        base: Draft,
        targets: Loads,
        origin: Loads,
        count: int,
        rng: np.random.Generator,
    ) -> list[Draft]:
        """Networks smaller than `base`, none twice; about `count` that meet `targets`.

        `origin` holds the loads of the full network, m_0.
        """

    def rounds(self, aims: Aims, rng: np.random.Generator) -> Rounds:
        full = self.space.full()
        loads = aims.loads([full])[0]
        outcome = yield Round((Draft(full, loads),), loads, 0, largest=True)
        origin = aims.loads([full])[0]
        wanted = float((aims.floors() / origin).min())
        step = 0
        while True:
            base = Draft(outcome.arch, aims.loads([outcome.arch])[0])
            floors = aims.floors(base.arch)
            # A guard may ask for less than the budgets do, and steps that become ever smaller end
            lowest = float((floors / origin).min())
            goal = wanted if self.schedule.reaches(lowest, wanted) else lowest
            if outcome.again:
                step -= 1
            step, targets = self._next_targets(aims, step, base.loads, origin, goal, floors)
            left = self._steps_left(step, origin, goal, floors)
            count = self.count(outcome.spent, left)
            drafts = self.propose(aims, base, targets, origin, count, rng)
            outcome = yield Round(tuple(drafts), targets, left)

    def _next_targets(
        self, aims: Aims, step: int, loads: Loads, origin: Loads, goal: float, floors: Loads
    ) -> tuple[int, Loads]:
        """The next step of the schedule that is not met yet, and its targets."""
        while True:
            step += 1
            targets = self._targets(step, origin, goal, floors)
            if (loads > targets + TOLERANCE).any():
                return step, targets
            if (targets <= floors + TOLERANCE).all():
                return step, aims.hair_below(loads, targets)

    def _targets(self, step: int, origin: Loads, goal: float, floors: Loads) -> Loads:
        targets = np.maximum(floors, origin * self.schedule.left(step, goal))
        return np.where(targets <= floors * (1 + 1e-6), floors, targets)

    def _steps_left(self, step: int, origin: Loads, goal: float, floors: Loads) -> int:
        """Steps after `step` until all targets are at their floors."""
        left = 0
        while (self._targets(step + left, origin, goal, floors) > floors).any():
            left += 1
        return left

    def steps_to(self, goal: float) -> int:
        """Steps of the schedule until the share `goal` of the full network's metrics is left."""
        steps = range(1, LONGEST_FORECAST)
        return next((n for n in steps if self.schedule.left(n, goal) <= goal), LONGEST_FORECAST)
