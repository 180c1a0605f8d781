"""DMaskingNAS (FBNetV2) as a strategy: for each budget an architecture learnt by gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from netadapt.errors import ConfigError
from netadapt.runs.budgets import budgets_of
from netadapt.runs.masking_log import masking_log
from netadapt.runs.strategy import SearchForecast, Strategy
from netadapt.runs.supernet import new_network, new_supernet, run_logged
from netadapt.search.dmasking.architecture import Architecture
from netadapt.search.dmasking.cost import counted, latency
from netadapt.search.dmasking.drawn import DrawnArchs
from netadapt.search.dmasking.settings import DMaskingSettings
from netadapt.search.dmasking.training import Goal, MaskedSearch, learn
from netadapt.search.evaluation import Evaluator
from netadapt.search.training.checkpoint import content_digest

if TYPE_CHECKING:
    from torch import nn

    from netadapt.runs.budgets import Budget
    from netadapt.runs.context import Context
    from netadapt.runs.folder import RunFolder
    from netadapt.runs.parts import Parts
    from netadapt.search.driver import SearchResult
    from netadapt.search.space import Arch

COUNTED = ("macs", "params")
"""Besides latency what is known of every kernel, and so of a mixture of networks."""


class DMaskingSearch(Strategy):
    """One training of weights and architecture for each budget, after weights alone for all.

    The weights' training is that of `[supernet]`; what a step of a super-network learns else
    (`[supernet] step`) is not asked. Found networks are trained from scratch, as the paper does it.
    """

    settings_class: ClassVar[type] = DMaskingSettings
    prepares: ClassVar[str] = "train the weights"
    settings: DMaskingSettings

    def prepare(self, context: Context) -> None:
        if context.config.final.weights != "scratch":
            raise ConfigError(
                "a differentiable search trains what it found from scratch, got final.weights = "
                f'"{context.config.final.weights}"; write weights = "scratch" below [final]'
            )
        # What the predictor does not know, or a family cannot mix, is said before the training
        uniform = Architecture(context.space).probabilities()
        for goal in self._goals(context, context.budgets[0].in_ms(context.reference_ms)):
            goal.cost(uniform)
        search = self._new(context)
        training = context.parts.supernet_training
        frozen = self.settings.frozen_steps(training.steps)
        if not frozen:
            return
        with context.training("supernet", "the weights") as on_progress:
            learn(
                search,
                context.task,
                training,
                self.settings,
                (),
                seed=context.config.run.seed,
                until=frozen,
                checkpoint=context.folder.supernet,
                on_progress=on_progress,
            )

    def find(self, context: Context, budget: Budget, budget_ms: float | None) -> SearchResult:
        folder = context.search_folder(budget)
        search = self._new(context)
        goals = self._goals(context, budget_ms)
        after = (context.folder.supernet, ()) if context.folder.supernet.exists() else None
        with (
            context.training(f"search {budget.label}", f"the architecture for {budget.label}") as (
                on_progress
            ),
            masking_log(folder.masking) as on_point,
        ):
            learn(
                search,
                context.task,
                context.parts.supernet_training,
                self.settings,
                goals,
                seed=context.config.run.seed,
                checkpoint=folder.architecture,
                after=after,
                on_progress=on_progress,
                on_point=on_point,
            )
        search.supernet.eval()
        evaluator = Evaluator(search.supernet, context.task, context.config.search.evaluation)
        searcher = DrawnArchs(context.space, search.architecture, self.settings)
        landing = context.search(budget_ms, searcher)
        return run_logged(context, budget, landing, evaluator, content_digest(search))

    def network(self, context: Context, arch: Arch) -> nn.Module:
        return new_network(context.parts, arch)

    def forecast(self, parts: Parts, folder: RunFolder) -> SearchForecast:
        budgets = budgets_of(parts.config.search.constraints)
        steps = parts.supernet_training.steps
        frozen = self.settings.frozen_steps(steps)
        archs = self.settings.candidates * len(budgets)
        favourites = parts.config.search.loop.favourites * len(budgets)
        return SearchForecast(frozen + (steps - frozen) * len(budgets), archs, favourites)

    def _new(self, context: Context) -> MaskedSearch:
        return MaskedSearch(new_supernet(context.parts), len(self._counted(context)) + 1)

    def _counted(self, context: Context) -> dict[str, float]:
        wanted = context.parts.counted_constraints()
        return {c.metric.name: c.budget for c in wanted if c.metric.name in COUNTED}

    def _goals(self, context: Context, budget_ms: float | None) -> list[Goal]:
        """Of the run's constraints those that a mixture of networks has."""
        effective = self.settings.cost == "effective"
        goals = []
        if budget_ms is not None:
            cost = latency(context.space, context.predictor, effective=effective)
            goals.append(Goal(cost, budget_ms, self._measured(context)))
        for name, limit in self._counted(context).items():
            goals.append(Goal(counted(context.space, name, effective=effective), limit))
        if not goals:
            raise ConfigError(
                "a differentiable search has a budget of latency, macs or params, got none of "
                "them; add one to [search.constraints]"
            )
        return goals

    def _measured(self, context: Context) -> Callable[[Arch], float] | None:
        if not context.config.search.loop.measures:
            return None
        return lambda arch: context.timer.measured([arch])[0]
