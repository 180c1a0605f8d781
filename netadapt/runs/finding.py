"""The steps in which a run's strategy finds its networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netadapt.runs.context import FinalNetwork, Found
from netadapt.text import milliseconds

if TYPE_CHECKING:
    from netadapt.runs.budgets import Budget
    from netadapt.runs.context import Context
    from netadapt.runs.folder import RunFolder
    from netadapt.runs.strategy import Strategy


class Prepare:
    """What the strategy does once for all budgets."""

    def __init__(self, strategy: Strategy) -> None:
        self.name = strategy.prepares
        self._strategy = strategy

    def done(self, folder: RunFolder) -> bool:
        return False  # the searches need the weights; trained ones are only read

    def do(self, context: Context) -> None:
        self._strategy.prepare(context)


class Find:
    """Find the network for one budget."""

    name = "search"

    def __init__(self, strategy: Strategy, budget: Budget) -> None:
        self._strategy = strategy
        self._budget = budget

    def done(self, folder: RunFolder) -> bool:
        return False  # a finished search is read from its trials

    def do(self, context: Context) -> None:
        budget = self._budget
        budget_ms = budget.in_ms(context.reference_ms)
        result = self._strategy.find(context, budget, budget_ms)
        assert result.confirmed_ms is not None  # a search that is confirmed confirms its result
        context.progress.say(
            f"found {budget.label}: {' and '.join(map(milliseconds, result.confirmed_ms))}"
            + ("" if budget_ms is None else f", of {milliseconds(budget_ms)}")
            + f", score {result.score:.4f}"
        )
        checkpoint = context.search_folder(budget).training / "found.pt"
        network = FinalNetwork(f"found {budget.label}", result.arch, checkpoint)
        context.found[budget.label] = Found(budget, budget_ms, result, network)
