"""One contract for all searchers, then what is each one's own. No training, no timing."""

from __future__ import annotations

import itertools
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from netadapt.profiler.kernels import DepthwiseConv, Kernel
from netadapt.search.errors import ImpossibleBudgetError, InvalidSettingError
from netadapt.search.metrics import (
    Constraint,
    KernelSum,
    LatencyMetric,
    LocalCorrection,
    macs,
    params,
    planned_memory,
)
from netadapt.search.searchers.base import (
    Accept,
    Confirm,
    Evaluate,
    Landing,
    Loop,
    Measure,
    Searcher,
)
from netadapt.search.searchers.coordinate_descent import GeometricSchedule, Schedule
from netadapt.search.searchers.mcd import McdSettings, MultiLayerCoordinateDescent
from netadapt.search.searchers.random_search import RandomSearch, RandomSettings
from netadapt.search.searchers.single_layer import SingleLayerCoordinateDescent, SingleLayerSettings
from netadapt.search.space import Arch, Space
from netadapt.search.trials import Trial

SPACE = Space.load("digits")


def kernel_ms(kernels: Sequence[Kernel]) -> list[float]:
    """Not monotonic: odd multiples of 8 channels cost a tenth more, 7x7 depthwise eight times."""

    def ms(kernel: Kernel) -> float:
        cost = 1e-3 + kernel.macs * 1e-6 + kernel.output_elements * 1e-7
        if isinstance(kernel, DepthwiseConv) and kernel.kernel_size == 7:
            cost *= 8
        return cost * (1.1 if kernel.output_shape[1] % 16 else 1.0)

    return [ms(kernel) for kernel in kernels]


def latency(width: float | None = None) -> LatencyMetric:
    """The made-up latency; its 90 % interval reaches the share `width` above and below."""
    network_ms = KernelSum(kernel_ms)

    def interval(networks: Sequence[Sequence[Kernel]]) -> NDArray[np.float64]:
        assert width is not None
        return np.outer(network_ms(networks), [1 / (1 + width), 1 + width])

    return LatencyMetric(SPACE, network_ms, LocalCorrection(), None if width is None else interval)


def true_ms(arch: Arch) -> float:
    return float(latency()([arch])[0])


REFERENCE_MS = true_ms(SPACE.reference())


def smallest() -> Arch:
    arch = SPACE.full()
    for dimension in SPACE.dimensions:
        arch = next(reversed(SPACE.smaller(arch, dimension)), arch)
    return arch


def score(arch: Arch) -> float:
    """Concave in every dimension, with weights that differ."""
    total = 0.0
    for i, dimension in enumerate(SPACE.dimensions):
        share = (SPACE.value(arch, dimension) or 0) / dimension.values[-1]
        total += (1 + (i * 7) % 5) * np.sqrt(share)
    return float(total)


@dataclass
class Session:
    """Drives a searcher and keeps all that went by."""

    evaluated: list[Evaluate] = field(default_factory=list)
    measured: list[tuple[Arch, float | None]] = field(default_factory=list)
    rounds: list[tuple[Arch, ...]] = field(default_factory=list)
    accepted: list[Arch] = field(default_factory=list)
    confirmed: list[tuple[float, ...] | None] = field(default_factory=list)
    found: Arch | None = None

    def drive(
        self,
        searcher: Searcher,
        score: Callable[[Arch], float] = score,
        measure: Callable[[Arch], float] | None = None,
    ) -> Arch:
        proposals = searcher.search()
        request = next(proposals)
        try:
            while True:
                if isinstance(request, Evaluate):
                    self.evaluated.append(request)
                    pairs = zip(request.candidates, request.predicted, strict=True)
                    request = proposals.send(tuple(Trial(a, score(a), p) for a, p in pairs))
                elif isinstance(request, Measure):
                    times = tuple(map(measure, request.archs)) if measure else None
                    self.rounds.append(request.archs)
                    self.measured += zip(
                        request.archs, times or [None] * len(request.archs), strict=True
                    )
                    request = proposals.send(times)
                elif isinstance(request, Accept):
                    self.accepted.append(request.arch)
                    request = proposals.send(None)
                else:
                    assert isinstance(request, Confirm)
                    twice = (measure(request.arch), measure(request.arch)) if measure else None
                    self.confirmed.append(twice)
                    request = proposals.send(twice)
        except StopIteration as stop:
            self.found = stop.value
        assert self.found is not None
        return self.found


class SearcherContract(ABC):
    """What every searcher promises."""

    @abstractmethod
    def searcher(
        self, constraints: Sequence[Constraint], seed: int = 0, loop: Loop | None = None
    ) -> Searcher: ...

    @pytest.mark.parametrize("share", [0.35, 0.8])
    def test_result_meets_the_budget_and_uses_it(self, share: float) -> None:
        budget = share * REFERENCE_MS
        found = Session().drive(self.searcher([Constraint(latency(), budget)]))
        assert 0.9 * budget <= true_ms(found) <= budget

    def test_all_constraints_hold_together(self) -> None:
        reference = SPACE.reference()
        constraints = [
            Constraint(latency(), 0.6 * REFERENCE_MS),
            Constraint(macs(SPACE), 0.5 * SPACE.macs(reference)),
            Constraint(params(SPACE), 0.6 * SPACE.params(reference)),
            Constraint(planned_memory(SPACE), 0.9 * SPACE.planned_memory_bytes(reference)),
        ]
        found = Session().drive(self.searcher(constraints))
        for constraint in constraints:
            assert constraint.metric([found])[0] <= constraint.budget

    def test_a_budget_above_the_full_network_is_met_at_once(self) -> None:
        budget = 2 * true_ms(SPACE.full())
        session = Session()
        session.drive(self.searcher([Constraint(latency(), budget)]))
        assert session.confirmed == [None]
        assert session.found is not None
        assert true_ms(session.found) <= budget

    def test_same_seed_same_proposals_other_seed_others(self) -> None:
        def run(seed: int) -> Session:
            session = Session()
            session.drive(
                self.searcher([Constraint(latency(), 0.5 * REFERENCE_MS)], seed), measure=slow
            )
            return session

        def slow(arch: Arch) -> float:
            return 1.1 * true_ms(arch)

        assert run(3) == run(3)
        if self.seeded:
            assert run(3) != run(4)

    seeded = True

    def test_never_leaves_the_space_and_never_repeats_within_an_iteration(self) -> None:
        session = Session()
        session.drive(self.searcher([Constraint(latency(), 0.4 * REFERENCE_MS)]))
        for request in session.evaluated:
            assert len(set(request.candidates)) == len(request.candidates) > 0
            for arch in request.candidates:
                SPACE.validate(arch)

    def test_predictions_that_travel_along_are_the_metrics_own(self) -> None:
        session = Session()
        session.drive(self.searcher([Constraint(latency(), 0.5 * REFERENCE_MS)]))
        for request in session.evaluated:
            for arch, predicted in zip(request.candidates, request.predicted, strict=True):
                assert predicted == {"latency": pytest.approx(true_ms(arch))}

    def test_an_impossible_budget_is_one_clear_error(self) -> None:
        searcher = self.searcher([Constraint(latency(), 0.01 * REFERENCE_MS)])
        with pytest.raises(ImpossibleBudgetError, match=r"smallest value reached is [\d.e-]+ ms"):
            Session().drive(searcher)

    @pytest.mark.parametrize("top_k", [1, 3])
    @pytest.mark.parametrize("bias", [0.8, 1.25])
    def test_measured_latency_lands_in_the_window(self, bias: float, top_k: int) -> None:
        budget = 0.5 * REFERENCE_MS
        rng = np.random.default_rng(5)

        def measure(arch: Arch) -> float:
            # Off by a bias that grows as networks shrink, and by noise.
            raw = true_ms(arch)
            return raw * bias * (raw / REFERENCE_MS) ** -0.05 * rng.normal(1, 0.004)

        session = Session()
        searcher = self.searcher([Constraint(latency(0.1), budget)], loop=Loop(top_k))
        found = session.drive(searcher, measure=measure)
        assert max(map(len, session.rounds)) == top_k
        measured = dict(session.measured)[found]
        assert measured is not None
        assert 0.95 * budget <= measured <= 0.99 * budget
        confirmed = session.confirmed[-1]
        assert confirmed is not None
        assert len(confirmed) == 2
        assert np.mean(confirmed) <= budget

    def test_the_guard_keeps_the_last_candidates_inside_the_budget(self) -> None:
        """Without measurement the interval stays as wide as it came."""
        budget = 0.6 * REFERENCE_MS
        session = Session()
        found = session.drive(self.searcher([Constraint(latency(0.08), budget)]))
        assert all(
            1.08 * true_ms(arch) <= budget * (1 + 1e-6) for arch in session.evaluated[-1].candidates
        )
        assert 0.97 * budget <= 1.08 * true_ms(found) <= budget * (1 + 1e-6)
        assert all(request.guard == pytest.approx(0.08) for request in session.evaluated)
        free = Session().drive(
            self.searcher([Constraint(latency(0.08), budget)], loop=Loop(guard=False))
        )
        assert true_ms(free) > 0.97 * budget

    def test_measurements_that_agree_narrow_the_guard(self) -> None:
        budget = 0.5 * REFERENCE_MS
        session = Session()
        found = session.drive(
            self.searcher([Constraint(latency(0.15), budget)]),
            measure=lambda arch: 1.2 * true_ms(arch),
        )
        guards = [request.guard for request in session.evaluated]
        assert guards[0] == pytest.approx(0.15)
        assert guards[-1] < 0.05
        assert 1.2 * true_ms(found) >= 0.93 * budget  # single layers have coarse steps

    def test_a_searcher_needs_constraints_that_differ(self) -> None:
        for constraints in ([], [Constraint(macs(SPACE), 1e6), Constraint(macs(SPACE), 2e6)]):
            with pytest.raises(InvalidSettingError, match="one constraint or more"):
                self.searcher(constraints)


class DescentContract(SearcherContract):
    """What the coordinate descents promise beyond that."""

    def test_a_guard_wider_than_the_space_allows_gives_way(self) -> None:
        budget = 1.05 * true_ms(smallest())
        session = Session()
        found = session.drive(self.searcher([Constraint(latency(0.5), budget)]))
        assert true_ms(found) <= budget
        assert session.confirmed == [None]

    def test_of_the_measured_only_those_that_meet_the_target_compete(self) -> None:
        # A third of the networks takes a fifth longer than predicted, which no correction can know.
        def measure(arch: Arch) -> float:
            slow = zlib.crc32(arch.to_json().encode()) % 3 == 0
            return true_ms(arch) * (1.2 if slow else 1.0)

        budget = 0.6 * REFERENCE_MS
        session = Session()
        session.drive(self.searcher([Constraint(latency(), budget)], loop=Loop(4)), measure=measure)
        measured = dict(session.measured)
        overtaken = 0
        for request, rivals, accepted in zip(
            session.evaluated, session.rounds, session.accepted, strict=True
        ):
            ranked = sorted(request.candidates, key=score, reverse=True)
            assert set(map(score, rivals)) == set(map(score, ranked[: len(rivals)]))
            ms = {arch: measured[arch] or 0.0 for arch in rivals}
            target = request.targets["latency"]
            if target < budget:  # the last step, which has a window of its own
                continue
            within = [arch for arch in rivals if ms[arch] <= target * (1 + 1e-9)]
            if within:
                assert score(accepted) == max(map(score, within))
            else:
                assert ms[accepted] == min(ms.values())
            overtaken += accepted != rivals[0]
        assert overtaken, "the most accurate candidate was always the one"


class TestMultiLayer(DescentContract):
    def searcher(
        self, constraints: Sequence[Constraint], seed: int = 0, loop: Loop | None = None
    ) -> Searcher:
        settings = McdSettings(candidates=12, layers=6, schedule=Schedule(0.08))
        return MultiLayerCoordinateDescent(SPACE, constraints, settings, seed=seed, loop=loop)

    @pytest.mark.parametrize(("share", "seed"), [(0.8, 0), (0.8, 4), (0.3, 2), (0.3, 4)])
    def test_networks_that_scatter_land_in_the_window_all_the_same(
        self, share: float, seed: int
    ) -> None:
        """Each network's latency is off by 6 % of its own, which no correction can know."""
        budget = share * 1.3 * REFERENCE_MS
        noise = np.random.default_rng(seed)

        def measure(arch: Arch) -> float:
            own = np.random.default_rng([seed, zlib.crc32(arch.to_json().encode())])
            off = 1.3 * np.exp(0.06 * own.normal())
            return float(true_ms(arch) * off * noise.normal(1, 0.003))

        settings = McdSettings(candidates=20, layers=10, schedule=GeometricSchedule(0.4, 0.15))
        constraints = [Constraint(latency(0.1), budget)]
        session = Session()
        session.drive(
            MultiLayerCoordinateDescent(SPACE, constraints, settings, seed=seed, loop=Loop(2)),
            measure=measure,
        )
        confirmed = session.confirmed[-1]
        assert confirmed is not None
        assert 0.95 * budget <= np.mean(confirmed) <= budget
        assert len(session.evaluated) <= 20, "the search for it is bounded"

    def test_candidates_meet_the_target_and_are_similar(self) -> None:
        session = Session()
        session.drive(self.searcher([Constraint(latency(), 0.5 * REFERENCE_MS)]))
        window = 0.01 * true_ms(SPACE.full())
        parent = SPACE.full()
        for request in session.evaluated[1:]:
            target = request.targets["latency"]
            for arch in request.candidates:
                ms = true_ms(arch)
                assert ms <= target * (1 + 1e-6)
                changed = [
                    d for d in SPACE.dimensions if SPACE.value(arch, d) != SPACE.value(parent, d)
                ]
                if ms < target - window and not any(block.removed for block in arch.blocks):
                    # Coarse steps: no layer that it shrank could be one step larger.
                    for dimension in changed:
                        value = SPACE.value(arch, dimension)
                        assert value is not None
                        larger = min(v for v in dimension.values if v > value)
                        grown = SPACE.with_value(arch, dimension, larger)
                        assert true_ms(grown) > target
            parent = max(request.candidates, key=score)

    def test_targets_follow_the_schedule_from_target_to_target(self) -> None:
        session = Session()
        budget = 0.5 * REFERENCE_MS
        session.drive(self.searcher([Constraint(latency(), budget)]))
        start = true_ms(SPACE.full())
        steps = [start * (1 - 0.08 * (1 - 0.98**t) / 0.02) for t in range(1, 40)]
        targets = [request.targets["latency"] for request in session.evaluated[1:]]
        assert targets[-1] == pytest.approx(budget)
        for target in targets[:-1]:
            assert any(target == pytest.approx(step) for step in steps)
        assert all(after < before for before, after in pairwise(targets))

    def test_kernel_sizes_are_searched_and_the_slow_one_goes_where_it_is_worth_nothing(
        self,
    ) -> None:
        def without_kernel_sizes(arch: Arch) -> float:
            return sum(b.width + b.expansion / 4 for b in arch.blocks) + arch.head / 16

        found = Session().drive(
            self.searcher([Constraint(latency(), 0.7 * REFERENCE_MS)]), without_kernel_sizes
        )
        assert all(block.kernel_size != 7 for block in found.blocks if not block.removed)

    def test_evaluations_are_spread_over_the_iterations(self) -> None:
        settings = McdSettings(layers=6, evaluations=150)
        constraints = [Constraint(latency(), 0.6 * REFERENCE_MS)]
        session = Session()
        session.drive(MultiLayerCoordinateDescent(SPACE, constraints, settings, seed=0))
        scored = sum(len(request.candidates) for request in session.evaluated)
        assert 120 <= scored <= 150 + len(session.evaluated)

    def test_a_geometric_schedule_becomes_finer_towards_the_budget(self) -> None:
        goal = 0.01
        schedule = GeometricSchedule(approach=0.5, finest_step=0.2)
        left = [schedule.left(step, goal) for step in range(30)]
        assert left[:3] == pytest.approx([1, 0.1, 0.1**1.5]), "half of the logarithmic way each"
        ratios = [after / before for before, after in itertools.pairwise(left)]
        assert ratios == pytest.approx(sorted(ratios))
        assert ratios[-1] == pytest.approx(0.8), "and never less than the finest step"
        settings = McdSettings(candidates=6, layers=6, schedule=schedule)
        session = Session()
        session.drive(
            MultiLayerCoordinateDescent(
                SPACE, [Constraint(latency(), 0.3 * REFERENCE_MS)], settings, seed=0
            )
        )
        targets = [request.targets["latency"] for request in session.evaluated]
        assert all(b <= 0.8 * a * (1 + 1e-9) for a, b in itertools.pairwise(targets[1:-1]))

    @pytest.mark.parametrize(
        "make",
        [
            lambda: McdSettings(candidates=0),
            lambda: McdSettings(layers=0),
            lambda: McdSettings(evenness=0),
            lambda: Schedule(0.0),
            lambda: Schedule(decay=1.5),
            lambda: Schedule(iterations=0),
            lambda: GeometricSchedule(approach=0.0),
            lambda: GeometricSchedule(finest_step=1.0),
            lambda: Landing(lowest=1.0),
            lambda: Landing(margin=0.03),
            lambda: Loop(top_k=0),
            lambda: RandomSettings(evaluations=0),
        ],
    )
    def test_wrong_settings_are_one_clear_error(self, make: Callable[[], object]) -> None:
        with pytest.raises(InvalidSettingError) as caught:
            make()
        assert "\n" not in str(caught.value)


class TestSingleLayer(DescentContract):
    seeded = False

    def searcher(
        self, constraints: Sequence[Constraint], seed: int = 0, loop: Loop | None = None
    ) -> Searcher:
        settings = SingleLayerSettings(Schedule(iterations=15, decay=0.96))
        return SingleLayerCoordinateDescent(SPACE, constraints, settings, seed=seed, loop=loop)


class TestRandom(SearcherContract):
    def searcher(
        self, constraints: Sequence[Constraint], seed: int = 0, loop: Loop | None = None
    ) -> Searcher:
        settings = RandomSettings(evaluations=60, round_size=20)
        return RandomSearch(SPACE, constraints, settings, seed=seed, loop=loop)
