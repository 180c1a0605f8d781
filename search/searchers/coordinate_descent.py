"""What multi-layer and single-layer coordinate descent share: schedule, path, landing.

Both start from the full network and shrink it step by step. Iteration t has a target for every
constraint, m_t = m_(t-1) - r0 * m_0 * d^(t-1) unless a geometric schedule is chosen, from the
previous *target* and not from the value that happened to be reached (assumption); the last target
is the budget itself. The most accurate candidate of an iteration becomes the next one's start.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from netadapt.search.errors import InvalidSettingError
from netadapt.search.searchers.base import (
    TOLERANCE,
    USES_BUDGET,
    Choice,
    Draft,
    Landing,
    Loads,
    Loop,
    Proposals,
    Searcher,
    excess,
    meets,
    uses,
)

if TYPE_CHECKING:
    from netadapt.search.metrics import Constraint
    from netadapt.search.space import Arch, Space


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the targets come down, as the paper is read: equal steps of m_0, each a little smaller.

    Parameters (all assumptions)
    ----------
    initial_reduction: r0, the first step as a share of the full network's metric. It is raised
        where a decaying schedule would never reach the budget.
    decay: d, each step over the one before.
    iterations: spread the way to the budget over this many steps instead; r0 follows from it.
        Coarse single steps can make a search skip some of them.
    """

    initial_reduction: float = 0.03
    decay: float = 0.98
    iterations: int | None = None

    _LONGEST = 200

    def __post_init__(self) -> None:
        if not (0 < self.initial_reduction < 1 and 0 < self.decay <= 1):
            raise InvalidSettingError(
                "a schedule needs 0 < initial_reduction < 1 and 0 < decay <= 1, got "
                f"{self.initial_reduction} and {self.decay}; the paper's reading is 0.03 and 0.98"
            )
        if self.iterations is not None and self.iterations < 1:
            raise InvalidSettingError(
                f"a schedule has 1 iteration or more, got {self.iterations}; leave it out to "
                "go by initial_reduction"
            )

    def left(self, step: int, goal: float) -> float:
        """The share of m_0 that is left after `step` steps towards the share `goal`, or below."""
        needed = 1 - goal
        if self.iterations is not None:
            reduction = needed / self._steps(self.iterations)
        else:
            reduction = max(self.initial_reduction, needed / self._steps(self._LONGEST))
        return 1 - reduction * self._steps(step)

    def _steps(self, count: int) -> float:
        return count if self.decay == 1 else (1 - self.decay**count) / (1 - self.decay)


@dataclass(frozen=True, slots=True)
class GeometricSchedule:
    """Targets that come down fast while the budget is far and finely when it is near.

    For budgets far below m_0, which slow 7x7 kernels make many times a whole reference network:
    steps of m_0's size would halve the network at the end, where every choice counts, and steps
    fine enough for the end would spend most iterations where anything may go.

    Parameters (assumptions)
    ----------
    approach: share of the way to the budget, counted in logarithms, that each step covers.
    finest_step: share of the target before it that a step takes away at least.
    """

    approach: float = 0.35
    finest_step: float = 0.07

    def __post_init__(self) -> None:
        if not (0 < self.approach < 1 and 0 < self.finest_step < 1):
            raise InvalidSettingError(
                "a geometric schedule needs an approach and a finest_step between 0 and 1, got "
                f"{self.approach} and {self.finest_step}; 0.35 and 0.07 are usual"
            )

    def left(self, step: int, goal: float) -> float:
        """The share of m_0 that is left after `step` steps towards the share `goal`, or below."""
        left = 1.0
        for done in range(1, step + 1):
            nearing = goal ** (1 - (1 - self.approach) ** done)
            left = min(nearing, left * (1 - self.finest_step))
        return left


AnySchedule = Schedule | GeometricSchedule


class CoordinateDescent(Searcher):
    """Shrink the full network until it meets the budgets; `_propose` makes the candidates."""

    def __init__(
        self,
        space: Space,
        constraints: Sequence[Constraint],
        schedule: AnySchedule,
        seed: int,
        landing: Landing | None,
        loop: Loop | None,
    ) -> None:
        super().__init__(space, constraints, seed, landing, loop)
        self.schedule = schedule

    @abstractmethod
    def _propose(
        self, base: Draft, targets: Loads, origin: Loads, count: int, rng: np.random.Generator
    ) -> list[Draft]:
        """Networks smaller than `base`, none twice; about `count` that meet `targets`.

        `origin` holds the loads of the full network, m_0.
        """

    @abstractmethod
    def _count(self, spent: int, iterations_left: int) -> int:
        """How many candidates the next iteration has."""

    def search(self) -> Proposals:
        rng = np.random.default_rng(self.seed)
        self._check_reachable()
        base = self.space.full()
        loads = self.loads([base])
        trials = yield from self._evaluate(0, [base], loads, loads[0], 0)
        choice = yield from self._choose(0, trials, np.ones(len(self.constraints)))
        measured = choice.measured_ms is not None
        met, _ = self._landed(base, choice.measured_ms)
        if met:
            met, _, _ = yield from self._confirm(0, choice)
            if met:
                return base
        origin = self.loads([base])[0]
        goal = float((self._floors(measured) / origin).min())
        iteration, step, spent = 0, 0, 1
        tries = 0
        frugals: dict[Arch, Choice] = {}  # met the budgets and left part of them unused
        tried: set[Arch] = set()  # measured where the search lands
        while True:
            iteration += 1
            floors = self._floors(measured, base)
            grown = None
            if tries > 1 and frugals:
                trust = 1 / (tries - 1)
                grown = self._grow(_fullest(frugals), trust, tried, self._count(spent, 0), rng)
            if grown is not None:
                targets, drafts = grown
                left = 0
                limits = np.where(np.arange(len(targets)) == self._timed, self.landing.highest, 1.0)
            else:
                start = Draft(base, self.loads([base])[0])
                step, targets = self._next_targets(step, start.loads, origin, goal, floors)
                left = self._steps_left(step, origin, goal, floors)
                limits = self._limits(targets, floors, measured)
                drafts = self._propose(start, targets, origin, self._count(spent, left), rng)
                drafts = [draft for draft in drafts if draft.arch not in tried] or drafts
                drafts = self._select(drafts, targets, floors)
                if not drafts:
                    if not measured and meets(start.loads, np.ones(len(floors))):
                        # Nothing is smaller: a guard band that reaches over the budget gives way.
                        yield from self._confirm(iteration - 1, choice)
                        return base
                    self._give_up(start.loads)
            trials = yield from self._evaluate(
                iteration,
                [draft.arch for draft in drafts],
                np.stack([draft.loads for draft in drafts]),
                targets,
                left,
            )
            spent += len(trials)
            last = grown is not None or self._is_last(targets, floors)
            lowest = self.landing.lowest if last else 0.0
            choice = yield from self._choose(iteration, trials, limits, lowest)
            met, used = self._landed(choice.arch, choice.measured_ms)
            if met and used:
                met, used, choice = yield from self._confirm(iteration, choice)
                if met and used:
                    return choice.arch
            if not met and grown is None:
                base = choice.arch
                continue
            # Beside the window: the correction now knows better, so aim again from the same parent,
            # then grow what was measured; what grew over the budget is no parent.
            tried.add(choice.arch)
            tries += 1
            if met:
                frugals[choice.arch] = choice
            if grown is None:
                step -= 1
            if tries > self.landing.tries:
                fullest = _fullest(frugals)
                met, _, _ = yield from self._confirm(iteration, fullest)
                if met:
                    return fullest.arch
                base = fullest.arch
                frugals.clear()

    def _grow(
        self,
        anchor: Choice,
        trust: float,
        tried: Collection[Arch],
        count: int,
        rng: np.random.Generator,
    ) -> tuple[Loads, list[Draft]] | None:
        """Networks that add to a measured one what it left of the latency budget, and their target.

        A neighbour's latency is that of the measured network, changed by as much as the prediction
        changes: what the predictor gets wrong about the one it gets wrong about the other. Where
        neighbours turned out otherwise, `trust` in that falls from 1 towards 0, the corrected
        prediction by itself. Each grows dimensions in random order, each by a random number of
        steps. None where that fills no budget (assumption: the whole landing is ours).
        """
        assert self._timed is not None
        assert anchor.measured_ms is not None
        predicted = self.loads([anchor.arch])[0]
        share = anchor.measured_ms / self._budgets[self._timed]
        limits = np.ones(len(predicted))
        limits[self._timed] = self.landing.aim * (predicted[self._timed] / share) ** trust
        fleet = [Draft(anchor.arch, predicted) for _ in range(count)]
        dimensions = self.space.dimensions
        orders = [rng.permutation(len(dimensions)) for _ in fleet]
        for turn in range(len(dimensions)):
            due = [i for i, draft in enumerate(fleet) if not uses(draft.loads, limits)]
            options = [self._larger(fleet[i].arch, dimensions[orders[i][turn]]) for i in due]
            cut = [o[int(rng.integers(len(o))) :] if o else o for o in options]
            for i, draft in zip(due, self._first_meeting(cut, [limits] * len(due)), strict=True):
                fleet[i] = draft or fleet[i]
        grown = {d.arch: d for d in fleet if d.arch not in tried and uses(d.loads, limits)}
        grown.pop(anchor.arch, None)
        return (limits, list(grown.values())) if grown else None

    def _next_targets(
        self, step: int, loads: Loads, origin: Loads, goal: float, floors: Loads
    ) -> tuple[int, Loads]:
        """The next step of the schedule that is not met yet, and its targets."""
        while True:
            step += 1
            targets = self._targets(step, origin, goal, floors)
            if (loads > targets + TOLERANCE).any():
                return step, targets
            if (targets <= floors + TOLERANCE).all():
                break
        # Predicted to be there but measured over its budget: go on by a hair.
        assert self._timed is not None
        targets[self._timed] = loads[self._timed] * (1 - (1 - self.landing.aim) / 2)
        return step, targets

    def _targets(self, step: int, origin: Loads, goal: float, floors: Loads) -> Loads:
        targets = np.maximum(floors, origin * self.schedule.left(step, goal))
        return np.where(targets <= floors * (1 + 1e-6), floors, targets)

    def _steps_left(self, step: int, origin: Loads, goal: float, floors: Loads) -> int:
        """Steps after `step` until all targets are at their floors."""
        left = 0
        while (self._targets(step + left, origin, goal, floors) > floors).any():
            left += 1
        return left

    def _select(self, drafts: Sequence[Draft], targets: Loads, floors: Loads) -> list[Draft]:
        """The fit ones: all that meet the targets and use the budget, or the nearest to that."""
        meeting = [d for d in drafts if meets(d.loads, targets)]
        if self._is_last(targets, floors):
            meeting = self._guarded(meeting)
        using = [d for d in meeting if (d.loads >= floors * (1 - USES_BUDGET)).any()]
        if using:
            return using
        if meeting:
            most = max(float((d.loads / floors).max()) for d in meeting)
            return [d for d in meeting if (d.loads / floors).max() >= most - USES_BUDGET]
        least = min((excess(d.loads, targets) for d in drafts), default=0.0)
        return [d for d in drafts if excess(d.loads, targets) <= least + TOLERANCE]

    def _nearest(
        self, options: Sequence[Sequence[Arch]], limits: Sequence[Loads]
    ) -> list[Draft | None]:
        """Of each list of options the one that exceeds its limits least, None of an empty one."""
        flat = [arch for archs in options for arch in archs]
        rows = iter(self.loads(flat)) if flat else iter(())
        return [
            min(
                (Draft(arch, next(rows)) for arch in archs),
                key=lambda draft: excess(draft.loads, limit),
                default=None,
            )
            for archs, limit in zip(options, limits, strict=True)
        ]


def _fullest(frugals: Mapping[Arch, Choice]) -> Choice:
    """The one that uses most of the budget."""
    return max(frugals.values(), key=lambda choice: choice.measured_ms or 0.0)
