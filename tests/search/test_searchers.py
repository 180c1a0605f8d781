"""The searchers that come along: the contract, then what is each one's own."""

from __future__ import annotations

import itertools
import math
import sys
import zlib
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netadapt.android_runner.errors import PluginError
from netadapt.android_runner.plugins import NoSettings
from netadapt.search.archs import smallest
from netadapt.search.errors import ImpossibleBudgetError, InvalidSettingError
from netadapt.search.landing import LandingSettings, LoopSettings, Search
from netadapt.search.metrics import Constraint, macs
from netadapt.search.searchers.base import (
    SEARCHERS,
    Aims,
    Outcome,
    Round,
    Rounds,
    Searcher,
    make_searcher,
)
from netadapt.search.searchers.coordinate_descent import GeometricSchedule, Schedule
from netadapt.search.searchers.drafts import Draft, Loads
from netadapt.search.searchers.evolution import (
    Breeding,
    DescentEvolutionSettings,
    DescentThenEvolution,
    Evolution,
    EvolutionSettings,
)
from netadapt.search.searchers.mcd import McdSettings, MultiLayerCoordinateDescent
from netadapt.search.searchers.nsga2 import Nsga2, Nsga2Settings
from netadapt.search.searchers.random_search import RandomSearch, RandomSettings
from netadapt.search.searchers.single_layer import SingleLayerCoordinateDescent, SingleLayerSettings
from netadapt.search.space import Arch, Space
from tests.contracts.searcher import SPACE, SearcherContract, Session, latency, score, true_ms

REFERENCE_MS = true_ms(SPACE.reference())


class UsesBudget(SearcherContract):
    """What the searchers that come along promise beyond the contract: the budget is used."""

    @pytest.mark.parametrize("share", [0.35, 0.8])
    def test_result_meets_the_budget_and_uses_it(self, share: float) -> None:
        budget = share * REFERENCE_MS
        found = Session().drive(self.search([Constraint(latency(), budget)]))
        assert 0.9 * budget <= true_ms(found) <= budget

    def test_a_budget_above_the_full_network_is_met_at_once(self) -> None:
        budget = 2 * true_ms(SPACE.full())
        session = Session()
        session.drive(self.search([Constraint(latency(), budget)]))
        assert session.confirmed == [None]
        assert session.found is not None
        assert true_ms(session.found) <= budget

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
        searcher = self.search(
            [Constraint(latency(0.1), budget)], loop=LoopSettings("top_k", top_k)
        )
        found = session.drive(searcher, measure=measure)
        assert top_k <= max(map(len, session.rounds)) <= top_k + 2, "one more after each miss"
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
        found = session.drive(self.search([Constraint(latency(0.08), budget)]))
        assert all(
            1.08 * true_ms(arch) <= budget * (1 + 1e-6) for arch in session.evaluated[-1].candidates
        )
        assert 0.97 * budget <= 1.08 * true_ms(found) <= budget * (1 + 1e-6)
        assert all(request.guard == pytest.approx(0.08) for request in session.evaluated)
        free = Session().drive(
            self.search([Constraint(latency(0.08), budget)], loop=LoopSettings(guard=False))
        )
        assert true_ms(free) > 0.97 * budget

    @pytest.mark.parametrize(("share", "seed"), [(0.8, 8), (0.5, 7), (0.3, 5), (0.3, 6)])
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

        session = Session()
        constraints = [Constraint(latency(0.1), budget)]
        session.drive(self.search(constraints, loop=LoopSettings("top_k", 2)), measure=measure)
        confirmed = session.confirmed[-1]
        assert confirmed is not None
        assert 0.95 * budget <= np.mean(confirmed) <= budget
        assert len(session.evaluated) <= 25, "the search for it is bounded"

    def test_measurements_that_agree_narrow_the_guard(self) -> None:
        budget = 0.5 * REFERENCE_MS
        session = Session()
        found = session.drive(
            self.search([Constraint(latency(0.15), budget)]),
            measure=lambda arch: 1.2 * true_ms(arch),
        )
        guards = [request.guard for request in session.evaluated]
        assert guards[0] == pytest.approx(0.15)
        assert guards[-1] < 0.75 * guards[0]
        assert 1.2 * true_ms(found) >= 0.93 * budget  # single layers have coarse steps

    def test_a_searcher_needs_constraints_that_differ(self) -> None:
        for constraints in ([], [Constraint(macs(SPACE), 1e6), Constraint(macs(SPACE), 2e6)]):
            with pytest.raises(InvalidSettingError, match="one constraint or more"):
                self.search(constraints)


class DescentContract(UsesBudget):
    """What the coordinate descents promise beyond that."""

    def test_a_guard_wider_than_the_space_allows_gives_way(self) -> None:
        budget = 1.05 * true_ms(smallest(SPACE))
        session = Session()
        found = session.drive(self.search([Constraint(latency(0.5), budget)]))
        assert true_ms(found) <= budget
        assert session.confirmed == [None]

    def test_of_the_measured_only_those_that_meet_the_target_compete(self) -> None:
        # A third of the networks takes a fifth longer than predicted, which no correction can know.
        def measure(arch: Arch) -> float:
            slow = zlib.crc32(arch.to_json().encode()) % 3 == 0
            return true_ms(arch) * (1.2 if slow else 1.0)

        budget = 0.6 * REFERENCE_MS
        session = Session()
        session.drive(
            self.search([Constraint(latency(), budget)], loop=LoopSettings("top_k", 4)),
            measure=measure,
        )
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
    def searcher(self, space: Space) -> Searcher:
        settings = McdSettings(candidates=12, layers=6, schedule=Schedule(0.08))
        return MultiLayerCoordinateDescent(space, settings)

    def test_candidates_meet_the_target_and_are_similar(self) -> None:
        session = Session()
        session.drive(self.search([Constraint(latency(), 0.5 * REFERENCE_MS)]))
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
        session.drive(self.search([Constraint(latency(), budget)]))
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
            self.search([Constraint(latency(), 0.7 * REFERENCE_MS)]), without_kernel_sizes
        )
        assert all(block.kernel_size != 7 for block in found.blocks if not block.removed)

    def test_evaluations_are_spread_over_the_iterations(self) -> None:
        settings = McdSettings(layers=6, evaluations=150)
        constraints = [Constraint(latency(), 0.6 * REFERENCE_MS)]
        session = Session()
        session.drive(Search(MultiLayerCoordinateDescent(SPACE, settings), constraints, seed=0))
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
            Search(
                MultiLayerCoordinateDescent(SPACE, settings),
                [Constraint(latency(), 0.3 * REFERENCE_MS)],
                seed=0,
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
            lambda: LandingSettings(lowest=1.0),
            lambda: LandingSettings(margin=0.03),
            lambda: LoopSettings(top_k=0),
            lambda: RandomSettings(evaluations=0),
        ],
    )
    def test_wrong_settings_are_one_clear_error(self, make: Callable[[], object]) -> None:
        with pytest.raises(InvalidSettingError) as caught:
            make()
        assert "\n" not in str(caught.value)


class TestSingleLayer(DescentContract):
    seeded = False

    def searcher(self, space: Space) -> Searcher:
        settings = SingleLayerSettings(Schedule(iterations=15, decay=0.96))
        return SingleLayerCoordinateDescent(space, settings)


class TestRandom(UsesBudget):
    def searcher(self, space: Space) -> Searcher:
        settings = RandomSettings(evaluations=60, round_size=20)
        return RandomSearch(space, settings)


class TestEvolution(UsesBudget):
    def searcher(self, space: Space) -> Searcher:
        breeding = Breeding(round_size=20, population=30, tournament=5)
        return Evolution(space, EvolutionSettings(evaluations=80, breeding=breeding))


class TestDescentThenEvolution(UsesBudget):
    def searcher(self, space: Space) -> Searcher:
        breeding = Breeding(round_size=15, population=30, tournament=5)
        descent = McdSettings(layers=6, schedule=Schedule(0.08))
        settings = DescentEvolutionSettings(120, descent=descent, breeding=breeding)
        return DescentThenEvolution(space, settings)

    def test_a_third_of_the_networks_are_the_descents(self) -> None:
        """Targets come down to the budget first, then all aim at it."""
        session = Session()
        session.drive(self.search())
        budget = 0.5 * REFERENCE_MS
        above = [r for r in session.evaluated if r.targets["latency"] > 1.001 * budget]
        first = session.evaluated.index(above[-1]) + 1
        assert above == session.evaluated[:first]
        assert 25 <= sum(len(r.candidates) for r in session.evaluated[: first + 1]) <= 50
        assert 120 <= sum(len(r.candidates) for r in session.evaluated) <= 140

    def test_it_ends_better_than_its_descent_and_than_random_networks(self) -> None:
        """On the made-up score; how it does on real ones is benchmarks/search_quality's."""
        budget = [Constraint(latency(), 0.5 * REFERENCE_MS)]
        found = [
            score(Session().drive(Search(searcher, budget, seed=0)))
            for searcher in (
                self.searcher(SPACE),
                MultiLayerCoordinateDescent(
                    SPACE, McdSettings(layers=6, schedule=Schedule(0.08), evaluations=40)
                ),
                RandomSearch(SPACE, RandomSettings(120)),
            )
        ]
        assert found[0] > max(found[1:])

    def test_the_descents_own_allowance_is_refused(self) -> None:
        with pytest.raises(InvalidSettingError, match="set evaluations and descent_share"):
            DescentEvolutionSettings(descent=McdSettings(evaluations=50))


class TestNsga2(UsesBudget):
    def searcher(self, space: Space) -> Searcher:
        settings = Nsga2Settings(evaluations=80, population=30, round_size=20)
        return Nsga2(space, settings)

    def test_a_round_has_a_front_and_not_only_what_uses_the_budget(self) -> None:
        session = Session()
        budget = 0.5 * REFERENCE_MS
        session.drive(self.search([Constraint(latency(), budget)]))
        for request in session.evaluated:
            loads = np.array([true_ms(arch) for arch in request.candidates]) / budget
            assert loads.max() <= 1 + 1e-9
            assert 0.1 <= (loads >= 0.97).mean() <= 0.7
        scored = [arch for request in session.evaluated for arch in request.candidates]
        assert len(set(scored)) == len(scored) >= 80

    def test_its_front_is_better_than_that_of_as_many_random_networks(self) -> None:
        """At all shares of the budget together; on the made-up score."""

        def front(population: int) -> float:
            settings = Nsga2Settings(evaluations=240, population=population)
            session = Session()
            constraints = [Constraint(latency(), 0.5 * REFERENCE_MS)]
            session.drive(Search(Nsga2(SPACE, settings), constraints, seed=0))
            found = [a for r in session.evaluated for a in r.candidates][:240]
            points = np.array([(true_ms(arch), score(arch)) for arch in found])
            shares = np.linspace(0.25, 1, 16) * 0.5 * REFERENCE_MS
            return float(np.mean([points[points[:, 0] <= ms, 1].max() for ms in shares]))

        assert front(40) > front(240)

    def test_without_pymoo_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pymoo", None)
        with pytest.raises(
            InvalidSettingError, match=r"pip install 'netadapt\[pareto\]'"
        ) as caught:
            Nsga2(SPACE)
        assert "\n" not in str(caught.value)


class Shuffled(Searcher):
    """Somebody else's searcher, as small as one can be: random archs, whatever they take."""

    settings_class: ClassVar[type] = NoSettings

    def rounds(self, aims: Aims, rng: np.random.Generator) -> Rounds:
        while True:
            archs = list(dict.fromkeys(self.space.random(rng) for _ in range(40)))
            loads = aims.loads(archs)
            yield Round(tuple(map(Draft, archs, loads)), aims.floors(), 0)


class TestShuffled(SearcherContract):
    """The landing alone brings it within the budget."""

    def searcher(self, space: Space) -> Searcher:
        return Shuffled(space)


class Exhausted(Shuffled):
    """Has three rounds to propose and no more."""

    def rounds(self, aims: Aims, rng: np.random.Generator) -> Rounds:
        yield from itertools.islice(super().rounds(aims, rng), 3)


def test_a_searcher_that_runs_out_of_proposals_gives_up_with_one_clear_line() -> None:
    search = Search(Exhausted(SPACE), [Constraint(latency(), 0.02 * REFERENCE_MS)], seed=0)
    with pytest.raises(ImpossibleBudgetError, match="smallest value reached"):
        Session().drive(search)


class Stubborn(Shuffled):
    """Proposes the full network for ever."""

    def rounds(self, aims: Aims, rng: np.random.Generator) -> Rounds:
        full = self.space.full()
        while True:
            yield Round((Draft(full, aims.loads([full])[0]),), aims.floors(), 0)


def test_a_searcher_that_never_lands_is_stopped() -> None:
    search = Search(Stubborn(SPACE), [Constraint(macs(SPACE), 1e6)], seed=0)
    with pytest.raises(ImpossibleBudgetError, match="macs"):
        Session().drive(search)


def test_a_searcher_is_made_by_its_name_or_by_its_place() -> None:
    for name in ("mcd", "single_layer", "random", "evolution", "mcd_evolution", "nsga2"):
        made = make_searcher(name, SPACE)
        assert made.name == name
        assert made.settings == SEARCHERS.settings_class(name)()
    own = make_searcher(f"{__name__}:Shuffled", SPACE, NoSettings())
    assert isinstance(own, Shuffled)
    assert own.name == f"{__name__}:Shuffled"
    with pytest.raises(
        PluginError,
        match="a searcher is one of evolution, mcd, mcd_evolution, nsga2, random, single_layer",
    ):
        make_searcher("annealing", SPACE)


def test_a_search_is_told_from_others_as_it_was_before() -> None:
    """Trial logs of before know their search by this text."""
    settings = McdSettings(candidates=6, layers=6, schedule=Schedule(0.1))
    search = Search(
        MultiLayerCoordinateDescent(SPACE, settings), [Constraint(latency(), 4.25)], seed=0
    )
    assert search.describe() == (
        '{"searcher": "mcd", "settings": {"candidates": 6, "layers": 6, "schedule": '
        '{"initial_reduction": 0.1, "decay": 0.98, "iterations": null}, "similarity": 0.01, '
        '"evenness": 0.3, "retries": 4, "evaluations": null}, "landing": {"lowest": 0.95, '
        '"aim": 0.975, "highest": 0.99, "margin": 0.003, "tries": 8}, "loop": {"top_k": 1, '
        '"guard": true}, "space": "digits", "bypass": true, "constraints": {"latency": 4.25}, '
        '"seed": 0}'
    )


class Guarded:
    """Budgets of multiply-accumulates of which a guard asks for no more than a share."""

    def __init__(self, space: Space, budget: float, certain: float) -> None:
        self.space, self.budget, self.certain = space, budget, certain

    def loads(self, archs: Sequence[Arch], /) -> Loads:
        return np.array([[self.space.macs(arch) / self.budget] for arch in archs])

    def floors(self, at: Arch | None = None) -> Loads:
        return np.array([1.0 if at is None else self.certain])

    def hair_below(self, loads: Loads, targets: Loads) -> Loads:
        return 0.99 * np.minimum(loads, targets)


@pytest.mark.timeout(60)
def test_a_guard_below_what_a_decaying_schedule_comes_to_is_reached_all_the_same() -> None:
    """It went on counting steps for ever, each smaller than the one before."""
    space = Space.load("digits")
    aims = Guarded(space, 0.5 * space.macs(space.full()), 0.6)
    searcher = SingleLayerCoordinateDescent(space)
    rounds = searcher.rounds(aims, np.random.default_rng(0))
    current, spent, count = next(rounds), 0, 0
    while current.largest or float(current.targets[0]) > 0.6:
        best = min(current.drafts, key=lambda draft: float(draft.loads[0]))
        spent += len(current.drafts)
        current = rounds.send(Outcome(best.arch, again=False, spent=spent, trials=()))
        count += 1
        assert current.iterations_left <= 60
    assert count <= 61


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.floats(0.9, 1.0))
def test_a_schedule_knows_how_far_it_comes(goal: float, share: float, decay: float) -> None:
    schedule = Schedule(0.025, decay)
    far = schedule.left(20_000, goal)
    if not math.isclose(far, share, rel_tol=1e-6):
        assert schedule.reaches(share, goal) is (far < share)
    assert schedule.left(60, goal) <= goal + 1e-9
