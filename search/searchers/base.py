"""The seam between a searcher and whoever evaluates for it.

A searcher is a generator. In every iteration it yields `Evaluate` and is sent the trials, yields
`Measure` for the most accurate of them and is sent milliseconds (or None when nobody measures), and
yields `Accept` for the one it goes on with. Before it returns the arch it found it yields `Confirm`
for it and is sent what that network took when it was timed again, by itself. It never trains,
times or logs, so it runs in milliseconds against a made-up score, and sending it recorded answers
replays a search exactly.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from netadapt.search.errors import ImpossibleBudgetError, InvalidSettingError
from netadapt.search.metrics import Constraint, LatencyMetric
from netadapt.search.trials import Trial

if TYPE_CHECKING:
    from netadapt.search.space import Arch, Dimension, Space

Loads = NDArray[np.float64]
"""Metrics as shares of their budgets, so that 1 meets a budget; last axis: constraints."""

TOLERANCE = 1e-9
"""Loads this much over a limit still meet it: rounding, not latency."""

USES_BUDGET = 0.02
"""A network uses a budget when it leaves no more than this share of it; no candidate is proposed
that uses none, as long as another one is there (assumption)."""


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Score these. `predicted` has the metrics by name, one mapping a candidate.

    `targets` is what the iteration aimed at; `iterations_left` estimates how many more of its
    size are to come; `guard` is the share by which the interval of the first candidate's latency
    reaches above the prediction, 0 without a guard.
    """

    iteration: int
    candidates: tuple[Arch, ...]
    predicted: tuple[Mapping[str, float], ...]
    targets: Mapping[str, float]
    iterations_left: int
    guard: float


@dataclass(frozen=True, slots=True)
class Measure:
    """Time these networks as wholes, the most accurate of the iteration first.

    The answer has their milliseconds, or is None when nobody measures.
    """

    iteration: int
    archs: tuple[Arch, ...]


@dataclass(frozen=True, slots=True)
class Accept:
    """The iteration settled on this network; no answer is read."""

    iteration: int
    arch: Arch


@dataclass(frozen=True, slots=True)
class Confirm:
    """Time this network, which may be the search's answer, again and by itself.

    The answer has the milliseconds of each repetition, or is None when nobody measures.
    """

    iteration: int
    arch: Arch


Request = Evaluate | Measure | Accept | Confirm
Answer = tuple[Trial, ...] | tuple[float, ...] | None
Proposals = Generator[Request, Answer, "Arch"]


@dataclass(frozen=True, slots=True)
class Loop:
    """How far measurement decides in a search that has its networks measured (assumptions).

    Parameters
    ----------
    top_k: so many of an iteration's candidates, the most accurate, are measured before one of them
        is chosen. With 1, the most accurate is chosen and then measured.
    guard: the last step's candidates stay within the latency budget with the upper end of the
        prediction's interval, which the search's own measurements narrow (`IntervalScale`).
    """

    top_k: int = 1
    guard: bool = True

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise InvalidSettingError(
                f"a loop measures 1 candidate or more, got top_k = {self.top_k}; 3 is usual"
            )


@dataclass(frozen=True, slots=True)
class Landing:
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
        from its parent, then by growing what was measured.
    """

    lowest: float = 0.95
    aim: float = 0.975
    highest: float = 0.99
    margin: float = 0.003
    tries: int = 8

    def __post_init__(self) -> None:
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
    """The network that an iteration goes on with, and what it measured where somebody measures."""

    arch: Arch
    score: float
    measured_ms: float | None


@dataclass(frozen=True, slots=True)
class Draft:
    """A network on its way to being a candidate, with its loads."""

    arch: Arch
    loads: Loads


class Searcher(ABC):
    """What all searchers share: the space, the constraints, the seed.

    Parameters
    ----------
    space: where to search.
    constraints: all must be met; at most one may be a `LatencyMetric`, which the answers to
        `Measure` correct (one metric object therefore belongs to one search).
    seed: the same seed gives the same proposals for the same answers.
    """

    name: str

    def __init__(
        self,
        space: Space,
        constraints: Sequence[Constraint],
        seed: int,
        landing: Landing | None,
        loop: Loop | None,
    ) -> None:
        names = [constraint.metric.name for constraint in constraints]
        if not names or len(set(names)) < len(names):
            raise InvalidSettingError(
                f"a search needs one constraint or more, each on another metric, got {names}"
            )
        self.space = space
        self.constraints = tuple(constraints)
        self.seed = seed
        self.landing = landing or Landing()
        self.loop = loop or Loop()
        self._budgets = np.array([constraint.budget for constraint in constraints])
        timed = [i for i, c in enumerate(constraints) if isinstance(c.metric, LatencyMetric)]
        self._timed = timed[0] if timed else None

    @abstractmethod
    def search(self) -> Proposals:
        """A new search from the start.

        Raises `ImpossibleBudgetError` naming the smallest value that can be reached.
        """

    @abstractmethod
    def settings(self) -> object:
        """The frozen dataclass that this searcher was configured with."""

    def describe(self) -> str:
        """Stable text of all that decides the proposals, but for the metrics' own state."""
        settings = self.settings()
        return json.dumps(
            {
                "searcher": self.name,
                "settings": asdict(settings),  # type: ignore[call-overload]
                "landing": asdict(self.landing),
                "loop": asdict(self.loop),
                "space": self.space.name,
                **self.space.options,
                "constraints": {c.metric.name: c.budget for c in self.constraints},
                "seed": self.seed,
            }
        )

    def loads(self, archs: Sequence[Arch]) -> Loads:
        """Every metric of every arch as a share of its budget, `(N, constraints)`."""
        values = [np.asarray(c.metric(archs), dtype=np.float64) for c in self.constraints]
        loads: Loads = np.stack(values, axis=1) / self._budgets
        return loads

    def _by_name(self, loads: Loads) -> dict[str, float]:
        values = loads * self._budgets
        return {c.metric.name: float(v) for c, v in zip(self.constraints, values, strict=True)}

    def _evaluate(
        self,
        iteration: int,
        candidates: Sequence[Arch],
        loads: Loads,
        targets: Loads,
        iterations_left: int,
    ) -> Generator[Request, Answer, tuple[Trial, ...]]:
        answer = yield Evaluate(
            iteration,
            tuple(candidates),
            tuple(self._by_name(row) for row in loads),
            self._by_name(targets),
            iterations_left,
            1 / self._certainty(candidates[0]) - 1,
        )
        assert answer is not None
        assert len(answer) == len(candidates)
        return cast("tuple[Trial, ...]", answer)

    def _choose(
        self, iteration: int, trials: Sequence[Trial], limits: Loads, lowest: float = 0.0
    ) -> Generator[Request, Answer, Choice]:
        """The trial to go on with, after the most accurate ones were measured.

        Of those, the ones that measure within `limits` compete by score; before them those that
        use the share `lowest` of the latency budget too, and if none is within, the nearest to it
        is taken.
        """
        ranked = sorted(trials, key=lambda trial: -trial.score)
        favourites = ranked[: 1 if self._timed is None else self.loop.top_k]
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
        yield Accept(iteration, best.arch)
        return best

    def _measure(
        self, iteration: int, archs: Sequence[Arch]
    ) -> Generator[Request, Answer, tuple[float, ...] | None]:
        """Measured milliseconds, learnt by the latency metric, if somebody measures."""
        answer = cast("tuple[float, ...] | None", (yield Measure(iteration, tuple(archs))))
        if answer is not None:
            self._observe(archs, answer)
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
        mean_ms = math.fsum(answer) / len(answer)
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

    def _floors(self, measured: bool, at: Arch | None = None) -> Loads:
        """What the last step aims at, as shares of the budgets, for networks like `at`.

        Without one, the guard band is left out.
        """
        floors = np.ones(len(self.constraints))
        if self._timed is None:
            return floors
        if measured:
            floors[self._timed] = self.landing.aim
        if at is not None:
            floors[self._timed] = min(floors[self._timed], self._certainty(at))
        return floors

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

    def _is_last(self, targets: Loads, floors: Loads) -> bool:
        """Whether the latency's target is where the last step aims, or below."""
        return self._timed is not None and bool(
            targets[self._timed] <= floors[self._timed] * (1 + TOLERANCE)
        )

    def _guarded(self, drafts: Sequence[Draft]) -> list[Draft]:
        """Those within the latency budget with their guard band on top, or all if none is."""
        if self._timed is None or not self.loop.guard or not drafts:
            return list(drafts)
        shares = self._upper_shares([draft.arch for draft in drafts])
        inside = [d for d, share in zip(drafts, shares, strict=True) if share <= 1 + TOLERANCE]
        return inside or list(drafts)

    def _smallest(self) -> Arch:
        """The arch with every dimension at its smallest value."""
        arch = self.space.full()
        for dimension in self.space.dimensions:
            smaller = self.space.smaller(arch, dimension)
            arch = smaller[-1] if smaller else arch
        return arch

    def _first_meeting(
        self, options: Sequence[Sequence[Arch]], limits: Sequence[Loads]
    ) -> list[Draft | None]:
        """Of each list of options the first within its limits, or None.

        All lists advance together, so that a metric sees few, large batches.
        """
        found: list[Draft | None] = [None] * len(options)
        open_lists = list(range(len(options)))
        begin, width = 0, 4
        while open_lists:
            window = [(i, a) for i in open_lists for a in options[i][begin : begin + width]]
            if not window:
                break
            loads = self.loads([arch for _, arch in window])
            for (i, arch), row in zip(window, loads, strict=True):
                if found[i] is None and meets(row, limits[i]):
                    found[i] = Draft(arch, row)
            begin, width = begin + width, 2 * width
            open_lists = [i for i in open_lists if found[i] is None and begin < len(options[i])]
        return found

    def _larger(self, arch: Arch, dimension: Dimension) -> tuple[Arch, ...]:
        """All archs that are larger in `dimension` alone, largest first."""
        value = self.space.value(arch, dimension)
        if not value:  # a removed block stays removed
            return ()
        larger = (v for v in reversed(dimension.values) if v > value)
        return tuple(self.space.with_value(arch, dimension, v) for v in larger)

    def _check_reachable(self) -> None:
        # Latency is not monotonic in a width, so the neighbours of the smallest network count too.
        smallest = self._smallest()
        neighbours = [
            self.space.with_value(smallest, dimension, value)
            for dimension in self.space.dimensions
            if self.space.value(smallest, dimension)
            for value in dimension.values
        ]
        reached = self.loads([smallest, *neighbours]).min(axis=0)
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


def meets(loads: Loads, limits: Loads) -> bool:
    """Whether every load `(constraints,)` is within its limit."""
    return bool((loads <= limits + TOLERANCE).all())


def uses(loads: Loads, limits: Loads) -> bool:
    """Whether the limits leave no room worth filling (`USES_BUDGET`)."""
    return bool((loads >= limits * (1 - USES_BUDGET)).any())


def excess(loads: Loads, limits: Loads) -> float:
    """How much of the budgets is over the limits, all constraints together."""
    over = loads - limits
    return math.fsum(over[over > 0])
