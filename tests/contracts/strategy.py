"""What every strategy does, tried on a run that it finished.

    class TestMine(StrategyContract):
        @pytest.fixture
        def finished(self) -> RunFolder: ...  # a run whose `search.strategy` is the one to try

A fixture `finished` of the module does as well; the run is copied.
Nothing is measured or trained again: whatever a strategy did, it reads from the run's folder.
"""

from __future__ import annotations

import dataclasses
import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from netadapt.android_runner.device import Device
from netadapt.console import PlainProgress
from netadapt.profiler.kernels import record_kernels
from netadapt.runs.context import Context
from netadapt.runs.folder import RunFolder
from netadapt.runs.parts import Parts
from netadapt.runs.result import RunResult
from netadapt.runs.strategy import Strategy, make_strategy


class StrategyContract:
    """Finds what meets the budget, resumes from the folder, and gives networks to be trained."""

    def device(self) -> Device | None:
        """What the finished run was measured on; None: what its file names."""
        return None

    @pytest.fixture
    def context(self, finished: RunFolder, tmp_path: Path) -> Iterator[Context]:
        folder = RunFolder(shutil.copytree(finished.path, tmp_path / "run"))
        parts = Parts(folder.read_config(), given_device=self.device())
        with Context(parts, folder, PlainProgress()) as context:
            yield context

    @pytest.fixture
    def strategy(self, context: Context) -> Strategy:
        """Prepared as a run does it."""
        chosen = context.config.search.strategy
        strategy = make_strategy(chosen.name, chosen.settings)
        strategy.prepare(context)
        return strategy

    def test_what_was_found_is_read_from_the_folder(
        self, context: Context, strategy: Strategy
    ) -> None:
        before = [path.read_bytes() for path in self._logs(context.folder)]
        result = RunResult.load(context.folder.result)
        for budget, outcome in zip(context.budgets, result.searches, strict=True):
            found = strategy.find(context, budget, budget.in_ms(context.reference_ms))
            assert found.arch.to_json() == outcome.found.arch
            assert found.score == outcome.search_score
            assert found.confirmed_ms == outcome.found_alone_ms
            assert (found.evaluations, found.iterations) == (
                outcome.evaluations,
                outcome.iterations,
            )
        assert [path.read_bytes() for path in self._logs(context.folder)] == before

    def test_what_was_found_meets_its_budgets(self, context: Context) -> None:
        counted = context.parts.counted_constraints()
        for outcome in RunResult.load(context.folder.result).searches:
            arch = context.space.arch_from_json(outcome.found.arch)
            if outcome.budget_ms is not None:
                assert statistics.mean(outcome.found_alone_ms) <= outcome.budget_ms
            for constraint in counted:
                assert constraint.metric([arch])[0] <= constraint.budget

    def test_networks_are_those_of_their_archs_and_the_same_again(
        self, context: Context, strategy: Strategy
    ) -> None:
        space = context.space
        outcome = RunResult.load(context.folder.result).searches[0]
        for arch in (space.reference(), space.arch_from_json(outcome.found.arch)):
            network, again = (strategy.network(context, arch) for _ in range(2))
            kernels = record_kernels(network.eval(), space.input_shape_of(arch))
            assert tuple(kernels) == space.kernels(arch)
            state = again.state_dict()
            for name, tensor in network.state_dict().items():
                assert torch.equal(tensor, state[name]), name

    def test_a_forecast_makes_nothing(self, context: Context) -> None:
        chosen = context.config.search.strategy
        fresh = RunFolder(context.folder.path.with_name("fresh"))
        forecast = make_strategy(chosen.name, chosen.settings).forecast(context.parts, fresh)
        assert not fresh.path.exists()
        assert forecast.seconds >= 0
        if forecast.evaluations is not None:
            assert 0 <= (forecast.measured or 0) <= forecast.evaluations

    def test_settings_have_defaults_and_are_frozen(self, context: Context) -> None:
        strategy = make_strategy(context.config.search.strategy.name)
        settings = type(strategy).settings_class
        assert settings.__dataclass_params__.frozen  # type: ignore[attr-defined]
        assert dataclasses.replace(settings()) == settings() == strategy.settings
        assert strategy.prepares.isprintable()

    def _logs(self, folder: RunFolder) -> list[Path]:
        return sorted([*folder.path.rglob("*.jsonl")])
