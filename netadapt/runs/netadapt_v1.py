"""NetAdaptV1 as a strategy: no super-network; every candidate is fine-tuned before it is judged."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, ClassVar

from netadapt.runs.rehearsal import last_step_s, rehearsed
from netadapt.runs.strategy import SearchForecast, Strategy
from netadapt.runs.supernet import (
    evaluations,
    new_network,
    new_supernet,
    run_logged,
    steps_done,
)
from netadapt.search.fine_tuning import FineTuned
from netadapt.search.fine_tuning_settings import FineTuningSettings
from netadapt.search.training import train_network

if TYPE_CHECKING:
    from torch import nn

    from netadapt.runs.budgets import Budget
    from netadapt.runs.context import Context
    from netadapt.runs.folder import RunFolder
    from netadapt.runs.parts import Parts
    from netadapt.search.driver import SearchResult
    from netadapt.search.space import Arch
    from netadapt.search.supernet import SuperNetwork


class NetAdaptV1(Strategy):
    """The full network trained once, then shrunk with a short fine-tuning of every candidate.

    The full network's training is that of `[supernet]`; what a step of a super-network learns else
    (`[supernet] step`) is not asked. The searcher that belongs to it is "single_layer"; any other
    has its candidates judged the same way.
    """

    settings_class: ClassVar[type] = FineTuningSettings
    prepares: ClassVar[str] = "train the full network"
    settings: FineTuningSettings

    def __init__(self, settings: FineTuningSettings | None = None) -> None:
        super().__init__(settings)
        self._trained: SuperNetwork | None = None
        self._searched: dict[Arch, FineTuned] = {}

    def prepare(self, context: Context) -> None:
        weights = new_supernet(context.parts)
        with context.training("full network", "the full network") as on_progress:
            train_network(
                weights.network,
                context.task,
                context.parts.supernet_training,
                seed=context.config.run.seed,
                checkpoint=context.folder.supernet,
                on_progress=on_progress,
            )
        self._trained = weights.eval()

    def find(self, context: Context, budget: Budget, budget_ms: float | None) -> SearchResult:
        assert self._trained is not None, "prepare comes first"
        scorer = FineTuned(
            copy.deepcopy(self._trained),
            context.task,
            context.parts.final_training,
            self.settings,
            context.config.search.evaluation,
            seed=context.config.run.seed,
            path=context.search_folder(budget).kept,
        )
        search = context.search(budget_ms)
        # One by one: a candidate takes seconds, and a kill loses no more than one
        result = run_logged(
            context, budget, search, scorer, scorer.digest, on_accept=scorer.keep, batch_size=1
        )
        self._searched[result.arch] = scorer
        return result

    def network(self, context: Context, arch: Arch) -> nn.Module:
        if context.config.final.weights == "scratch":
            return new_network(context.parts, arch)
        if arch in self._searched:
            return self._searched[arch].network(arch)
        assert self._trained is not None, "prepare comes first"
        return self._trained.extract(arch)

    def forecast(self, parts: Parts, folder: RunFolder) -> SearchForecast:
        training, task, seed = parts.supernet_training, parts.task, parts.config.run.seed
        network = new_supernet(parts).network
        step_s = last_step_s(
            lambda note: train_network(
                network, task, rehearsed(training), seed=seed, on_progress=note
            )
        )
        steps = training.steps - steps_done(folder)
        expected = evaluations(parts)
        if expected is None:
            return SearchForecast(steps, seconds=steps * step_s)
        judged, measured = expected
        # As if all were as large as the full network, and for a start about as large they are
        seconds = (steps + judged * self.settings.steps) * step_s
        return SearchForecast(steps, judged, measured, seconds)
