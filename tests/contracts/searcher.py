"""What every searcher promises. Subclass it, and say how yours is made:

    class TestAnnealing(SearcherContract):
        def searcher(self, space: Space) -> Searcher:
            return Annealing(space, AnnealingSettings(evaluations=60))

Scores and latencies are made up: no training, no timing, no device.
"""

from __future__ import annotations

import dataclasses
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from netadapt.profiler.kernels import DepthwiseConvKernel, Kernel
from netadapt.search.archs import smallest
from netadapt.search.driver import SearchResult, open_log, run_search
from netadapt.search.errors import ImpossibleBudgetError
from netadapt.search.landing import LoopSettings, Search
from netadapt.search.metrics import (
    Constraint,
    KernelSum,
    LatencyMetric,
    LocalCorrection,
    macs,
    params,
    planned_memory,
)
from netadapt.search.requests import Accept, Confirm, Evaluate, Measure
from netadapt.search.searchers.base import Searcher
from netadapt.search.space import Arch, Space
from netadapt.search.trials import Trial

SPACE = Space.load("digits")


def kernel_ms(kernels: Sequence[Kernel]) -> list[float]:
    """Not monotonic: odd multiples of 8 channels cost a tenth more, 7x7 depthwise eight times."""

    def ms(kernel: Kernel) -> float:
        cost = 1e-3 + kernel.macs * 1e-6 + kernel.output_elements * 1e-7
        if isinstance(kernel, DepthwiseConvKernel) and kernel.kernel_size == 7:
            cost *= 8
        return cost * (1.1 if kernel.output_shape[1] % 16 else 1.0)

    return [ms(kernel) for kernel in kernels]


network_ms = KernelSum(kernel_ms)
"""One for all, so that no kernel's latency is made up twice."""


def latency(width: float | None = None, space: Space = SPACE) -> LatencyMetric:
    """The made-up latency; its 90 % interval reaches the share `width` above and below."""

    def interval(networks: Sequence[Sequence[Kernel]]) -> NDArray[np.float64]:
        assert width is not None
        return np.outer(network_ms(networks), [1 / (1 + width), 1 + width])

    return LatencyMetric(space, network_ms, LocalCorrection(), None if width is None else interval)


def true_ms(arch: Arch, space: Space = SPACE) -> float:
    """What the made-up latency says before anything was measured."""
    return float(network_ms([space.kernels(arch)])[0])


def score(arch: Arch, space: Space = SPACE) -> float:
    """Concave in every dimension, with weights that differ."""
    total = 0.0
    for i, dimension in enumerate(space.dimensions):
        share = (space.value(arch, dimension) or 0) / dimension.values[-1]
        total += (1 + (i * 7) % 5) * np.sqrt(share)
    return float(total)


@dataclass
class Session:
    """Answers a search's requests and keeps all that went by."""

    evaluated: list[Evaluate] = field(default_factory=list)
    measured: list[tuple[Arch, float | None]] = field(default_factory=list)
    rounds: list[tuple[Arch, ...]] = field(default_factory=list)
    accepted: list[Arch] = field(default_factory=list)
    confirmed: list[tuple[float, ...] | None] = field(default_factory=list)
    found: Arch | None = None

    def drive(
        self,
        search: Search,
        score: Callable[[Arch], float] = score,
        measure: Callable[[Arch], float] | None = None,
    ) -> Arch:
        requests = search.requests()
        request = next(requests)
        try:
            while True:
                if isinstance(request, Evaluate):
                    self.evaluated.append(request)
                    pairs = zip(request.candidates, request.predicted, strict=True)
                    request = requests.send(tuple(Trial(a, score(a), p) for a, p in pairs))
                elif isinstance(request, Measure):
                    times = tuple(map(measure, request.archs)) if measure else None
                    self.rounds.append(request.archs)
                    self.measured += zip(
                        request.archs, times or [None] * len(request.archs), strict=True
                    )
                    request = requests.send(times)
                elif isinstance(request, Accept):
                    self.accepted.append(request.arch)
                    request = requests.send(None)
                else:
                    assert isinstance(request, Confirm)
                    twice = (measure(request.arch), measure(request.arch)) if measure else None
                    self.confirmed.append(twice)
                    request = requests.send(twice)
        except StopIteration as stop:
            self.found = stop.value
        assert self.found is not None
        return self.found


class SearcherContract(ABC):
    """Stays in the space, ends within its budgets, and is a function of seed and answers."""

    @abstractmethod
    def searcher(self, space: Space) -> Searcher:
        """A small one, made anew: some hundred archs scored in all."""

    space = SPACE
    seeded = True
    """Whether the seed decides anything about the proposals."""
    share = 0.5
    """Of the reference's latency, a budget that is within reach."""

    @property
    def reference_ms(self) -> float:
        return true_ms(self.space.reference(), self.space)

    def score(self, arch: Arch) -> float:
        return score(arch, self.space)

    def slow_ms(self, arch: Arch) -> float:
        """What measuring gives: a tenth more than predicted."""
        return 1.1 * true_ms(arch, self.space)

    def search(
        self,
        constraints: Sequence[Constraint] | None = None,
        seed: int = 0,
        loop: LoopSettings | None = None,
    ) -> Search:
        if constraints is None:
            constraints = [Constraint(latency(0.05, self.space), self.share * self.reference_ms)]
        return Search(self.searcher(self.space), constraints, seed=seed, loop=loop)

    def test_proposals_are_in_the_space_and_never_twice_in_an_iteration(self) -> None:
        session = Session()
        session.drive(self.search(), self.score)
        assert session.evaluated
        for request in session.evaluated:
            assert len(set(request.candidates)) == len(request.candidates) > 0
            for arch in request.candidates:
                self.space.validate(arch)
        assert session.found in {a for request in session.evaluated for a in request.candidates}

    def test_loads_that_travel_along_are_the_metrics_own(self) -> None:
        session = Session()
        session.drive(self.search(), self.score)
        for request in session.evaluated:
            for arch, predicted in zip(request.candidates, request.predicted, strict=True):
                assert predicted == {"latency": pytest.approx(true_ms(arch, self.space))}

    def test_the_result_meets_the_budget(self) -> None:
        found = Session().drive(self.search(), self.score)
        assert true_ms(found, self.space) <= self.share * self.reference_ms

    def test_a_measured_result_meets_the_budget(self) -> None:
        session = Session()
        found = session.drive(self.search(), self.score, self.slow_ms)
        assert self.slow_ms(found) <= self.share * self.reference_ms
        assert session.confirmed[-1] == (self.slow_ms(found), self.slow_ms(found))

    def test_all_constraints_hold_together(self) -> None:
        space, reference = self.space, self.space.reference()
        constraints = [
            Constraint(latency(space=space), 0.6 * self.reference_ms),
            Constraint(macs(space), 0.5 * space.macs(reference)),
            Constraint(params(space), 0.6 * space.params(reference)),
            Constraint(planned_memory(space), 0.9 * space.planned_memory_bytes(reference)),
        ]
        found = Session().drive(self.search(constraints), self.score)
        for constraint in constraints:
            assert constraint.metric([found])[0] <= constraint.budget

    def test_the_seed_decides_everything(self) -> None:
        def run(seed: int) -> Session:
            session = Session()
            session.drive(self.search(seed=seed), self.score, self.slow_ms)
            return session

        assert run(3) == run(3)
        if self.seeded:
            assert run(3) != run(4)

    def test_one_object_can_search_twice(self) -> None:
        """No state is left of a search, but for what its metric learnt."""
        budget = self.share * self.reference_ms
        searcher = self.searcher(self.space)
        sessions = []
        for _ in range(2):
            constraints = [Constraint(latency(space=self.space), budget)]
            sessions.append(Session())
            sessions[-1].drive(Search(searcher, constraints, seed=0), self.score)
        assert sessions[0] == sessions[1]

    def test_an_impossible_budget_is_one_clear_error(self) -> None:
        impossible = 0.5 * true_ms(smallest(self.space), self.space)
        search = self.search([Constraint(latency(space=self.space), 0.1 * impossible)])
        with pytest.raises(
            ImpossibleBudgetError, match=r"smallest value reached is [\d.e-]+ ms"
        ) as caught:
            Session().drive(search, self.score)
        assert "\n" not in str(caught.value)

    def test_resumed_from_any_part_of_its_log_it_ends_the_same(self, tmp_path: Path) -> None:
        evaluated: list[Arch] = []

        def run(path: Path) -> SearchResult:
            def evaluate(archs: Sequence[Arch]) -> list[float]:
                evaluated.extend(archs)
                return [self.score(arch) for arch in archs]

            def measure(archs: Sequence[Arch]) -> list[float]:
                return [self.slow_ms(arch) for arch in archs]

            search = self.search()
            with open_log(path, search) as log:
                return run_search(
                    search,
                    evaluate,
                    measure,
                    log,
                    confirm=lambda arch: (self.slow_ms(arch), self.slow_ms(arch)),
                )

        path = tmp_path / "whole.jsonl"
        whole = run(path)
        everything = list(evaluated)
        lines = path.read_bytes().splitlines(keepends=True)
        for cut in (1, len(lines) // 2, len(lines) - 1):
            part = tmp_path / f"{cut}.jsonl"
            torn = lines[cut][: len(lines[cut]) // 2]
            part.write_bytes(b"".join(lines[:cut]) + torn)
            evaluated.clear()
            resumed = run(part)
            assert (resumed.arch, resumed.score) == (whole.arch, whole.score)
            assert timeless(part.read_text()) == timeless(path.read_text())
            assert evaluated == everything[len(everything) - len(evaluated) :]

    def test_settings_have_defaults_and_are_frozen(self) -> None:
        searcher = self.searcher(self.space)
        settings = type(searcher).settings_class
        assert settings.__dataclass_params__.frozen
        assert dataclasses.replace(settings()) == settings()
        assert type(searcher)(self.space).settings == settings()
        assert searcher.name

    def test_a_forecast_counts_rounds_and_archs(self) -> None:
        forecast = self.searcher(self.space).forecast(0.5)
        if forecast is not None:
            rounds, archs = forecast
            assert 1 <= rounds <= archs


def timeless(text: str) -> list[object]:
    """A log's lines without their wall times."""
    lines = [json.loads(line) for line in text.splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
