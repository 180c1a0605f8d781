"""How a search meets its budgets: measuring, accepting, guarding, confirming, trying again.

One policy for all searchers. A searcher proposes candidates for targets; what is done with them is
here: the most accurate ones are measured, one is accepted, the last ones are guarded against what a
prediction is uncertain by until one is within the budget, what lands below it is tried again, and
the answer is timed once more before it is one. All of it is ours (assumptions).
"""

from __future__ import annotations

import json
import math
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn, cast

import numpy as np
from annotated_types import Gt, Interval

from netadapt.android_runner.bounds import check_bounds
from netadapt.search.archs import smallest
from netadapt.search.errors import ImpossibleBudgetError, InvalidSettingError
from netadapt.search.metrics import Constraint, LatencyMetric
from netadapt.search.requests import (
    Accept,
    Answer,
    Confirm,
    Evaluate,
    Measure,
    Request,
    Requests,
)
from netadapt.search.searchers.base import Outcome, Round, Rounds, Searcher
from netadapt.search.searchers.drafts import (
    TOLERANCE,
    USES_BUDGET,
    Draft,
    Loads,
    brought_to_budget,
    excess,
    meets,
)
from netadapt.search.trials import Trial

if TYPE_CHECKING:
    from netadapt.search.space import Arch


MAX_ITERATIONS = 1000
"""A searcher that has not landed after so many rounds will not."""

FEWEST_BESIDE = 20
"""Candidates of a round that aims beside the measured ones, though all planned ones are spent."""

MOST_ANCHORS = 5
"""Measured networks, nearest to the budget first, whose neighbours such a round looks for."""


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """How far measurement decides while a search runs (assumptions).

    Parameters
    ----------
    loop: what is measured. "predictor": nothing. "accepted": the network that each iteration
        settles on. "top_k": an iteration's `top_k` most accurate candidates, before one of them is
        chosen.
    top_k: counts for "top_k" alone.
    guard: the last step's candidates stay within the latency budget with the upper end of the
        prediction's interval, which the search's own measurements narrow (`IntervalScale`), until
        something within it has been measured.

    Raises `InvalidSettingError`.
    """

    loop: Literal["predictor", "accepted", "top_k"] = "accepted"
    top_k: Annotated[int, Interval(ge=1, le=1_000)] = 3
    guard: bool = True

    def __post_init__(self) -> None:
        check_bounds(self, InvalidSettingError)

    @property
    def favourites(self) -> int:
        """How many candidates compete for being accepted."""
        return self.top_k if self.loop == "top_k" else 1

    @property
    def measures(self) -> bool:
        """Whether anything is measured during the search."""
        return self.loop != "predictor"


@dataclass(frozen=True, slots=True)
class LandingSettings:
    """How a search that has its networks measured meets its latency budget (assumptions).

    Parameters
    ----------
    lowest: share of the budget that the result uses at least, as long as latency is what binds it.
    aim: share of the budget that the last step aims at.
    highest: share of the budget that a network measured in an iteration takes at most; above `aim`
        and below it there is room for noise.
    margin: when the result is timed again, the mean has to be that much inside `lowest` and the
        budget itself, so that a third session finds it there too.
    tries: how often a result that measures under `lowest` is searched for again, the first time
        from its parent, then beside what was measured nearest to the budget.

    Raises `InvalidSettingError`.
    """

    lowest: Annotated[float, Gt(0)] = 0.95
    aim: float = 0.975
    highest: Annotated[float, Interval(le=1)] = 0.99
    margin: Annotated[float, Interval(ge=0)] = 0.003
    tries: Annotated[int, Interval(ge=0, le=1_000)] = 8

    def __post_init__(self) -> None:
        check_bounds(self, InvalidSettingError)
        if not 0 < self.lowest < self.aim < self.highest <= 1:
            raise InvalidSettingError(
                f"a landing needs 0 < lowest < aim < highest <= 1, got {self}; "
                "the defaults are 0.95, 0.975 and 0.99"
            )
        if not 0 <= self.margin < min(self.aim - self.lowest, 1 - self.aim):
            raise InvalidSettingError(
                f"a landing's margin leaves its aim inside, got {self}; the default is 0.003"
            )


@dataclass(frozen=True, slots=True)
class Choice:
    """The network that an iteration settled on, and what it measured where somebody measures."""

    arch: Arch
    score: float
    measured_ms: float | None


class Search:
    """A searcher with its budgets, and the policy that brings it there.

    Parameters
    ----------
    searcher: proposes the candidates.
    constraints: all must be met; at most one may be a `LatencyMetric`, which measurements correct
        (one metric object therefore belongs to one search).
    seed: the same seed gives the same requests for the same answers.
    landing, loop: the policy in numbers; None: the defaults.

    Raises `InvalidSettingError` unless there are constraints, each on another metric.
    """

    def __init__(
        self,
        searcher: Searcher,
        constraints: Sequence[Constraint],
        *,
        seed: int,
        landing: LandingSettings | None = None,
        loop: LoopSettings | None = None,
    ) -> None:
        names = [constraint.metric.name for constraint in constraints]
        if not names or len(set(names)) < len(names):
            raise InvalidSettingError(
                f"a search needs one constraint or more, each on another metric, got {names}"
            )
        self.searcher = searcher
        self.space = searcher.space
        self.constraints = tuple(constraints)
        self.seed = seed
        self.landing = LandingSettings() if landing is None else landing
        self.loop = LoopSettings() if loop is None else loop
        self._budgets = np.array([constraint.budget for constraint in constraints])
        timed = [i for i, c in enumerate(constraints) if isinstance(c.metric, LatencyMetric)]
        self._timed = timed[0] if timed else None
        self._measured = False
        self._fallback = False  # something within the budget has been measured: no guard
        self._timings: dict[Arch, float] = {}  # in ms

    def describe(self) -> str:
        """Stable text of all that decides the requests, but for the metrics' own state."""
        return json.dumps(
            {
                "searcher": self.searcher.name,
                "settings": asdict(self.searcher.settings),
                "landing": asdict(self.landing),
                "loop": {"top_k": self.loop.favourites, "guard": self.loop.guard},
                "space": self.space.name,
                **self.space.options,
                "constraints": {c.metric.name: c.budget for c in self.constraints},
                "seed": self.seed,
            },
            default=str,
        )

    def requests(self) -> Requests:
        """A new search from the start.

        Raises `ImpossibleBudgetError` naming the smallest value that can be reached.
        """
        self._measured = self._fallback = False
        self._timings = {}
        self._check_reachable()
        rng = np.random.default_rng(self.seed)
        if self.searcher.best_of is None:
            return (yield from self._first_that_lands(rng))
        return (yield from self._best_that_lands(self.searcher.best_of, rng))

    def loads(self, archs: Sequence[Arch], /) -> Loads:
        """Every metric of every arch as a share of its budget, `(N, constraints)`."""
        values = [np.asarray(c.metric(archs), dtype=np.float64) for c in self.constraints]
        loads: Loads = np.stack(values, axis=1) / self._budgets
        return loads

    def floors(self, at: Arch | None = None) -> Loads:
        """As `netadapt.search.searchers.base.Aims` has it."""
        floors = np.ones(len(self.constraints))
        if self._timed is None:
            return floors
        if self._measured:
            floors[self._timed] = self.landing.aim
        if at is not None and not self._fallback:
            floors[self._timed] = min(floors[self._timed], self._certainty(at))
        return floors

    def hair_below(self, loads: Loads, targets: Loads) -> Loads:
        """As `netadapt.search.searchers.base.Aims` has it."""
        assert self._timed is not None
        below = targets.copy()
        below[self._timed] = loads[self._timed] * (1 - (1 - self.landing.aim) / 2)
        return below

    def _first_that_lands(self, rng: np.random.Generator) -> Requests:
        """For a searcher that makes its way to the budgets."""
        rounds = self.searcher.rounds(self, rng)
        outcome: Outcome | None = None
        base: Choice | None = None  # what the searcher continues from
        iteration, spent, tries = 0, 0, 0
        frugals: dict[Arch, Choice] = {}  # met the budgets and left part of them unused
        while iteration < MAX_ITERATIONS:
            beside = None
            if tries > 1 and frugals:
                count = max(self.searcher.count(spent, 0), FEWEST_BESIDE)
                beside = self._beside(tries - 1, count, rng)
            if beside is not None:
                current, limits, last = beside, self._highest(), True
            else:
                proposed = self._next(rounds, outcome, spent)
                floors = self.floors(None if base is None else base.arch)
                fresh = tuple(d for d in proposed.drafts if d.arch not in self._timings)
                chosen = self._select(fresh or proposed.drafts, proposed.targets, floors)
                if not chosen:
                    return (yield from self._out_of_options(iteration - 1, base))
                current = replace(proposed, drafts=chosen)
                limits = self._limits(current.targets, floors, self._measured)
                last = self._is_last(current.targets, floors)
            trials = yield from self._evaluate(iteration, current)
            spent += len(trials)
            lowest = self.landing.lowest if last else 0.0
            choice = yield from self._choose(iteration, trials, limits, lowest, tries)
            met, used = self._landed(choice.arch, choice.measured_ms)
            if met and (used or current.largest):
                met, used, choice = yield from self._confirm(iteration, choice)
                if met and (used or current.largest):
                    return choice.arch
            iteration += 1
            if beside is None and (not met or current.largest):
                base = choice
                outcome = Outcome(base.arch, again=False, spent=spent, trials=trials)
                continue
            # Beside the window: the correction now knows better, so aim again from the same parent,
            # then beside what was measured; what came out over the budget is no parent.
            base = choice if base is None else base
            tries += 1
            if met:
                frugals[choice.arch] = choice
                self._fallback = True
            if beside is None:
                outcome = Outcome(base.arch, again=True, spent=spent, trials=trials)
            if tries > self.landing.tries:
                base = max(frugals.values(), key=lambda choice: choice.measured_ms or 0.0)
                met, _, _ = yield from self._confirm(iteration - 1, base)
                if met:
                    return base.arch
                assert outcome is not None
                outcome = replace(outcome, arch=base.arch)
                frugals.clear()
                self._fallback = False
        assert base is not None
        self._give_up(self.loads([base.arch])[0])

    def _best_that_lands(self, best_of: int, rng: np.random.Generator) -> Requests:
        """For a searcher whose rounds aim at the budgets from the first on."""
        rounds = self.searcher.rounds(self, rng)
        outcome: Outcome | None = None
        best: tuple[bool, float, Choice] | None = None  # uses the budget, score
        iteration, spent, planned, tries = 0, 0, 0, 0
        while True:
            # Measured results that leave part of the budget unused are worth some more rounds.
            late = iteration > planned + self.landing.tries
            if best is not None and (best[0] or late) and spent >= best_of:
                met, used, choice = yield from self._confirm(iteration - 1, best[2])
                if met and (used or late):
                    return best[2].arch
                best = (False, choice.score, choice) if met else None
            beside = None
            if spent >= best_of and self._timings and not late:
                tries += 1
                beside = self._beside(tries, FEWEST_BESIDE, rng)
            proposed = None if late else beside or self._next(rounds, outcome, spent)
            if proposed is None or not proposed.drafts:
                break
            down = beside is not None or bool((proposed.targets <= 1 + TOLERANCE).all())
            last = down and self._timed is not None
            if iteration == 0 or not down:  # on its way down a searcher learns how far it is
                planned = iteration + proposed.iterations_left + 1
            drafts = self._guarded(proposed.drafts) if last else proposed.drafts
            current = replace(proposed, drafts=tuple(drafts))
            trials = yield from self._evaluate(iteration, current)
            spent += len(trials)
            ones = np.ones(len(self._budgets))
            limits = self._highest() if beside else self._limits(current.targets, ones, True)
            lowest = self.landing.lowest if last else 0.0
            choice = yield from self._choose(iteration, trials, limits, lowest, tries)
            met, used = self._landed(choice.arch, choice.measured_ms)
            if met and current.largest:
                met, used, choice = yield from self._confirm(iteration, choice)
                if met:
                    return choice.arch
            if met and (best is None or (used, choice.score) > best[:2]):
                best = (used, choice.score, choice)
            if met and choice.measured_ms is not None:
                self._fallback = True
            if beside is None:
                outcome = Outcome(choice.arch, not (met and used), spent, trials)
            iteration += 1
        if best is None:
            self._give_up(self.loads([smallest(self.space)])[0])
        yield from self._confirm(iteration - 1, best[2])
        return best[2].arch

    def _next(self, rounds: Rounds, outcome: Outcome | None, spent: int) -> Round:
        """The searcher's next round; one without candidates where it has come to its end."""
        try:
            if outcome is None:
                return next(rounds)
            return rounds.send(replace(outcome, spent=spent))
        except StopIteration:
            return Round((), np.ones(len(self._budgets)), 0)

    def _out_of_options(self, iteration: int, base: Choice | None) -> Requests:
        at = smallest(self.space) if base is None else base.arch
        loads = self.loads([at])[0]
        if base is None or self._measured or not meets(loads, np.ones(len(loads))):
            self._give_up(loads)
        # Nothing is smaller: a guard band that reaches over the budget gives way.
        yield from self._confirm(iteration, base)
        return base.arch

    def _evaluate(
        self, iteration: int, current: Round
    ) -> Generator[Request, Answer, tuple[Trial, ...]]:
        candidates = tuple(draft.arch for draft in current.drafts)
        answer = yield Evaluate(
            iteration,
            candidates,
            tuple(self._by_name(draft.loads) for draft in current.drafts),
            self._by_name(current.targets),
            current.iterations_left,
            1 / self._certainty(candidates[0]) - 1,
        )
        assert answer is not None
        assert len(answer) == len(candidates)
        return cast("tuple[Trial, ...]", answer)

    def _by_name(self, loads: Loads) -> dict[str, float]:
        values = loads * self._budgets
        return {c.metric.name: float(v) for c, v in zip(self.constraints, values, strict=True)}

    def _choose(
        self,
        iteration: int,
        trials: Sequence[Trial],
        limits: Loads,
        lowest: float,
        tries: int = 0,
    ) -> Generator[Request, Answer, Choice]:
        """The trial to continue with, after the most accurate ones were measured.

        Of those, the ones that measure within `limits` compete by score; before them those that
        use the share `lowest` of the latency budget too, and if none is within, the nearest to it
        is taken. With every one of the `tries` that landed beside the window one more is measured,
        since each is off by something of its own.
        """
        ranked = sorted(trials, key=lambda trial: -trial.score)
        favourites = ranked[: 1 if self._timed is None else self.loop.favourites + tries]
        measured = yield from self._measure(iteration, [trial.arch for trial in favourites])
        if measured is None or self._timed is None:
            ms = None if measured is None else measured[0]
            best = Choice(favourites[0].arch, favourites[0].score, ms)
        else:
            limit_ms = float(limits[self._timed] * self._budgets[self._timed]) * (1 + TOLERANCE)
            lowest_ms = lowest * float(self._budgets[self._timed])

            def rank(choice: Choice) -> tuple[bool, bool, float]:
                assert choice.measured_ms is not None
                within = choice.measured_ms <= limit_ms
                worth = choice.score if within else -choice.measured_ms
                return within, choice.measured_ms >= lowest_ms, worth

            pairs = zip(favourites, measured, strict=True)
            best = max((Choice(t.arch, t.score, ms) for t, ms in pairs), key=rank)
        self._measured = best.measured_ms is not None
        yield Accept(iteration, best.arch)
        return best

    def _measure(
        self, iteration: int, archs: Sequence[Arch]
    ) -> Generator[Request, Answer, tuple[float, ...] | None]:
        """Measured milliseconds, learnt by the latency metric, if somebody measures."""
        answer = cast("tuple[float, ...] | None", (yield Measure(iteration, tuple(archs))))
        if answer is not None:
            self._observe(archs, answer)
            self._timings.update(zip(archs, answer, strict=True))
        return answer

    def _confirm(
        self, iteration: int, choice: Choice
    ) -> Generator[Request, Answer, tuple[bool, bool, Choice]]:
        """What `_landed` says of a choice after it was timed again; the choice as it was then.

        In a search that nobody measures for, the answer changes nothing.
        """
        answer = cast("tuple[float, ...] | None", (yield Confirm(iteration, choice.arch)))
        if answer is None or choice.measured_ms is None or self._timed is None:
            return True, True, choice
        self._observe([choice.arch] * len(answer), answer)
        mean_ms = self._timings[choice.arch] = math.fsum(answer) / len(answer)
        margin = self.landing.margin
        met, used = self._landed(choice.arch, mean_ms, 1 - margin, self.landing.lowest + margin)
        return met, used, replace(choice, measured_ms=mean_ms)

    def _observe(self, archs: Sequence[Arch], measured_ms: Sequence[float]) -> None:
        if self._timed is not None:
            self._latency.observe(archs, measured_ms)

    @property
    def _latency(self) -> LatencyMetric:
        assert self._timed is not None
        metric = self.constraints[self._timed].metric
        assert isinstance(metric, LatencyMetric)
        return metric

    def _landed(
        self,
        arch: Arch,
        measured_ms: float | None,
        highest: float | None = None,
        lowest: float | None = None,
    ) -> tuple[bool, bool]:
        """Whether `arch` meets every budget, and whether it also uses them.

        A measurement counts more than a prediction of the same thing; it has to be within the
        shares `highest` and `lowest` of its budget, the landing's own when not given.
        """
        loads = self.loads([arch])[0]
        limits = np.ones(len(loads))
        if self._timed is None:
            return meets(loads, limits), True
        if measured_ms is None:
            loads[self._timed] = self._upper_shares([arch])[0]
            return meets(loads, limits), True
        loads[self._timed] = measured_ms / self._budgets[self._timed]
        limits[self._timed] = self.landing.highest if highest is None else highest
        least = self.landing.lowest if lowest is None else lowest
        return meets(loads, limits), bool(loads.max() >= least)

    def _upper_shares(self, archs: Sequence[Arch]) -> Loads:
        """Latencies `(N,)` as shares of the budget, the guard band on top of them."""
        assert self._timed is not None
        latency = self._latency
        ms = latency.upper(archs) if self.loop.guard else np.asarray(latency(archs))
        shares: Loads = ms / self._budgets[self._timed]
        return shares

    def _certainty(self, arch: Arch) -> float:
        """The predicted latency as a share of its guard band's upper end, 1 without a guard."""
        if self._timed is None or not self.loop.guard:
            return 1.0
        load = float(self.loads([arch])[0][self._timed])
        return load / float(self._upper_shares([arch])[0])

    def _limits(self, targets: Loads, floors: Loads, measured: bool) -> Loads:
        """What a measured network has to meet to compete: the targets, or to have landed."""
        limits = targets.copy()
        if measured and self._timed is not None and self._is_last(targets, floors):
            limits[self._timed] = self.landing.highest
        return limits

    def _highest(self) -> Loads:
        """What a measured network has to meet where a round aims at the budgets themselves."""
        limits = np.ones(len(self._budgets))
        limits[self._timed] = self.landing.highest
        return limits

    def _is_last(self, targets: Loads, floors: Loads) -> bool:
        """Whether the latency's target is where the last step aims, or below."""
        return self._timed is not None and bool(
            targets[self._timed] <= floors[self._timed] * (1 + TOLERANCE)
        )

    def _guarded(self, drafts: Sequence[Draft]) -> list[Draft]:
        """Those within the latency budget with their guard band on top, or all if none is."""
        if self._timed is None or not self.loop.guard or self._fallback or not drafts:
            return list(drafts)
        shares = self._upper_shares([draft.arch for draft in drafts])
        inside = [d for d, share in zip(drafts, shares, strict=True) if share <= 1 + TOLERANCE]
        return inside or list(drafts)

    def _select(self, drafts: Sequence[Draft], targets: Loads, floors: Loads) -> tuple[Draft, ...]:
        """The fit ones: all that meet the targets and use the budget, or the nearest to that."""
        meeting = [d for d in drafts if meets(d.loads, targets)]
        if self._is_last(targets, floors):
            meeting = self._guarded(meeting)
        using = [d for d in meeting if (d.loads >= floors * (1 - USES_BUDGET)).any()]
        if using:
            return tuple(using)
        if meeting:
            most = max(float((d.loads / floors).max()) for d in meeting)
            return tuple(d for d in meeting if (d.loads / floors).max() >= most - USES_BUDGET)
        least = min((excess(d.loads, targets) for d in drafts), default=0.0)
        return tuple(d for d in drafts if excess(d.loads, targets) <= least + TOLERANCE)

    def _beside(self, time: int, count: int, rng: np.random.Generator) -> Round | None:
        """Networks beside a measured one that take what the budget has, the `time`-th such round.

        A neighbour's latency is that of the measured network, changed by as much as the prediction
        changes: what the predictor gets wrong about the one it gets wrong about the other. Where
        neighbours turned out otherwise, the trust in that falls from 1 towards 0, the corrected
        prediction by itself. The measured network nearest to the budget comes first; where it has
        too few neighbours, the next one. None where nothing has any.
        """
        assert self._timed is not None
        budget = float(self._budgets[self._timed])
        trust = 1 / time**2
        most: Round | None = None
        near = sorted(self._timings, key=lambda a: abs(math.log(self._timings[a] / budget)))
        for anchor in near[:MOST_ANCHORS]:
            predicted = self.loads([anchor])[0]
            share = self._timings[anchor] / budget
            limits = np.ones(len(predicted))
            limits[self._timed] = self.landing.aim * (predicted[self._timed] / share) ** trust
            fleet = brought_to_budget(self.space, self.loads, [anchor] * count, limits, rng)
            enough = limits * (self.landing.lowest / self.landing.aim)
            drafts = {
                draft.arch: draft
                for draft in fleet
                if draft.arch not in self._timings
                and meets(draft.loads, limits)
                and (draft.loads >= enough).any()
            }
            if drafts and (most is None or len(drafts) > len(most.drafts)):
                most = Round(tuple(drafts.values()), limits, 0)
            if most is not None and len(most.drafts) >= self.loop.favourites + time:
                break
        return most

    def _check_reachable(self) -> None:
        # Latency is not monotonic in a width, so the neighbours of the smallest network count too.
        least = smallest(self.space)
        neighbours = [
            self.space.with_value(least, dimension, value)
            for dimension in self.space.dimensions
            if self.space.value(least, dimension)
            for value in dimension.values
        ]
        reached = self.loads([least, *neighbours]).min(axis=0)
        for load, constraint in zip(reached, self.constraints, strict=True):
            if load > 1 + TOLERANCE:
                self._refuse(constraint, load * constraint.budget)

    def _give_up(self, loads: Loads) -> NoReturn:
        """Refuse the budget that `loads` exceed most."""
        worst = int(np.argmax(loads))
        constraint = self.constraints[worst]
        self._refuse(constraint, float(loads[worst]) * constraint.budget)

    def _refuse(self, constraint: Constraint, reached: float) -> NoReturn:
        metric = constraint.metric
        raise ImpossibleBudgetError(
            f"a {metric.name} budget must be one that space {self.space.name!r} can meet, got "
            f"{constraint.budget:g} {metric.unit}; the smallest value reached is {reached:.4g} "
            f"{metric.unit}, so give a larger budget or a space with smaller networks"
        )
