"""What every metric does: `class TestMine(MetricContract)` with a `make_metric` tries it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
import pytest

from netadapt.search.driver import run_search
from netadapt.search.landing import Search
from netadapt.search.metrics import Constraint, Metric
from netadapt.search.searchers.random_search import RandomSearch, RandomSettings
from netadapt.search.space import Arch, Space
from tests.contracts.searcher import score


class MetricContract(ABC):
    """A number an arch, the lower the better, whichever others are asked for with it."""

    share = 0.8
    """Of the reference's value, a budget that is within reach."""

    @abstractmethod
    def make_space(self) -> Space:
        """Where the archs are of."""

    @abstractmethod
    def make_metric(self, space: Space) -> Metric:
        """The metric, made anew, e.g. by `netadapt.search.metrics.make_metric`."""

    @pytest.fixture
    def space(self) -> Space:
        return self.make_space()

    @pytest.fixture
    def metric(self, space: Space) -> Metric:
        return self.make_metric(space)

    @pytest.fixture
    def archs(self, space: Space) -> list[Arch]:
        rng = np.random.default_rng(0)
        return [space.reference(), space.full(), *(space.random(rng) for _ in range(6))]

    def test_it_has_a_name_and_a_unit(self, metric: Metric) -> None:
        assert metric.name
        assert metric.unit
        assert f"{metric.name}{metric.unit}".isprintable()

    def test_archs_are_judged_alike_alone_and_together(
        self, space: Space, metric: Metric, archs: list[Arch]
    ) -> None:
        together = list(metric(archs))
        assert len(together) == len(archs)
        assert all(math.isfinite(value) and value >= 0 for value in together)
        assert [metric([arch])[0] for arch in archs] == together
        assert list(self.make_metric(space)(archs[::-1])) == together[::-1]

    def test_a_search_keeps_within_its_budget(self, space: Space, metric: Metric) -> None:
        budget = self.share * metric([space.reference()])[0]
        settings = RandomSettings(evaluations=8, round_size=4)
        search = Search(RandomSearch(space, settings), [Constraint(metric, budget)], seed=0)
        found = run_search(search, lambda archs: [score(arch, space) for arch in archs]).arch
        assert metric([found])[0] <= budget
