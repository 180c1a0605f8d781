"""The seam between a searcher and whoever evaluates for it.

A searcher is a generator. It yields `Evaluate` and is sent the trials, it yields `Measure` for the
network it accepts in an iteration and is sent measured milliseconds (or None when nobody measures),
and it returns the arch it found. It never trains, times or logs, so it runs in milliseconds against
a made-up score, and sending it recorded answers replays a search exactly.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NoReturn

import numpy as np
from numpy.typing import NDArray

from search.errors import ImpossibleBudgetError, InvalidSettingError
from search.metrics import Constraint, LatencyMetric
from search.trials import Trial

if TYPE_CHECKING:
    from search.space import Arch, Space

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
    size are to come.
    """

    iteration: int
    candidates: tuple[Arch, ...]
    predicted: tuple[Mapping[str, float], ...]
    targets: Mapping[str, float]
    iterations_left: int


@dataclass(frozen=True, slots=True)
class Measure:
    """Time this network, which the iteration accepted, as a whole."""

    iteration: int
    arch: Arch


Request = Evaluate | Measure
Answer = tuple[Trial, ...] | float | None
Proposals = Generator[Request, Answer, "Arch"]


@dataclass(frozen=True, slots=True)
class Landing:
    """How a search that has its networks measured meets its latency budget (assumptions).

    Parameters
    ----------
    lowest: share of the budget that the result uses at least, as long as latency is what binds it.
    aim: share of the budget that the last step aims at.
    highest: share of the budget that the result takes at most; above `aim` and below it there is
        room for the noise of this measurement and of a later one.
    tries: how often a result that measures under `lowest` is searched for again.
    """

    lowest: float = 0.935
    aim: float = 0.97
    highest: float = 0.99
    tries: int = 5

    def __post_init__(self) -> None:
        if not 0 < self.lowest < self.aim < self.highest <= 1:
            raise InvalidSettingError(
                f"a landing needs 0 < lowest < aim < highest <= 1, got {self}; "
                "the defaults are 0.935, 0.97 and 0.99"
            )


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
    constraints: all must be met; at most one may be a `LatencyMetric`, whose answer to `Measure`
        corrects it (one metric object therefore belongs to one search).
    seed: the same seed gives the same proposals for the same answers.
    """

    name: str

    def __init__(
        self, space: Space, constraints: Sequence[Constraint], seed: int, landing: Landing
    ) -> None:
        names = [constraint.metric.name for constraint in constraints]
        if not names or len(set(names)) < len(names):
            raise InvalidSettingError(
                f"a search needs one constraint or more, each on another metric, got {names}"
            )
        self.space = space
        self.constraints = tuple(constraints)
        self.seed = seed
        self.landing = landing
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
                "space": self.space.name,
                "bypass": self.space.bypass,
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
        )
        assert isinstance(answer, tuple)
        assert len(answer) == len(candidates)
        return answer

    def _measure(self, iteration: int, arch: Arch) -> Generator[Request, Answer, float | None]:
        """Measured milliseconds, learnt by the latency metric, if somebody measures."""
        answer = yield Measure(iteration, arch)
        assert not isinstance(answer, tuple)
        if answer is not None and self._timed is not None:
            metric = self.constraints[self._timed].metric
            assert isinstance(metric, LatencyMetric)
            metric.observe(arch, answer)
        return answer

    def _landed(self, arch: Arch, measured_ms: float | None) -> tuple[bool, bool]:
        """Whether `arch` meets every budget, and whether it also uses them.

        A measurement counts more than a prediction of the same thing.
        """
        loads = self.loads([arch])[0]
        limits = np.ones(len(loads))
        if measured_ms is None or self._timed is None:
            return meets(loads, limits), True
        loads[self._timed] = measured_ms / self._budgets[self._timed]
        limits[self._timed] = self.landing.highest
        return meets(loads, limits), bool(loads.max() >= self.landing.lowest)

    def _floors(self, measured_ms: float | None) -> Loads:
        """What the last step aims at, as shares of the budgets."""
        floors = np.ones(len(self.constraints))
        if measured_ms is not None and self._timed is not None:
            floors[self._timed] = self.landing.aim
        return floors

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


def excess(loads: Loads, limits: Loads) -> float:
    """How much of the budgets is over the limits, all constraints together."""
    over = loads - limits
    return math.fsum(over[over > 0])
