"""How a run finds its networks: the seam, and the super-network search of NetAdaptV2."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

import torch

from netadapt import assembly
from netadapt.runs.context import FinalNetwork, Found
from netadapt.search.driver import open_log, run_search
from netadapt.search.evaluation import Evaluator
from netadapt.search.network import build_network
from netadapt.search.supernet import SuperNetwork, calibrate, extract
from netadapt.search.task import one_batch
from netadapt.search.training import train_supernet
from netadapt.search.training.checkpoint import content_digest
from netadapt.text import milliseconds

if TYPE_CHECKING:
    from torch import nn

    from netadapt.runs.budgets import Budget
    from netadapt.runs.context import Context
    from netadapt.runs.folder import RunFolder
    from netadapt.search.driver import SearchProgress, SearchResult
    from netadapt.search.space import Arch


class Strategy(Protocol):
    """How a run finds the arch for a budget; made for one run.

    prepares: the name of the step that `prepare` is, e.g. "train the super-network".
    """

    @property
    def prepares(self) -> str: ...

    def prepare(self, context: Context) -> None:
        """What all budgets have in common; resumes where it was interrupted."""
        ...

    def find(self, context: Context, budget: Budget, budget_ms: float | None) -> SearchResult:
        """The arch for one budget, confirmed on the device; resumes where it was interrupted."""
        ...

    def network(self, context: Context, arch: Arch) -> nn.Module:
        """The arch's network with the weights that the final training starts from."""
        ...


class SuperNetworkSearch:
    """One super-network for all budgets, shrunk by the run's searcher (NetAdaptV2)."""

    prepares = "train the super-network"

    def __init__(self) -> None:
        self._supernet: SuperNetwork | None = None

    def prepare(self, context: Context) -> None:
        config = context.config
        supernet = context.space.supernetwork(
            generator=torch.Generator().manual_seed(config.run.seed)
        )
        settings = assembly.training_settings(config.supernet)
        with context.training("supernet", "the super-network") as on_progress:
            train_supernet(
                supernet,
                context.task,
                settings,
                assembly.make_step(config, context.space),
                seed=config.run.seed,
                checkpoint=context.folder.supernet,
                on_progress=on_progress,
            )
        supernet.eval()
        self._supernet = supernet

    def find(self, context: Context, budget: Budget, budget_ms: float | None) -> SearchResult:
        assert self._supernet is not None, "prepare comes first"
        folder = context.search_folder(budget)
        settings = assembly.evaluation_settings(context.config)
        evaluator = Evaluator(self._supernet, context.task, settings)
        search = context.search(budget_ms)
        with (
            open_log(folder.trials, search, self._inputs(context)) as log,
            context.progress.step(f"Searching {budget.label}") as update,
        ):

            def on_progress(p: SearchProgress) -> None:
                done = max(p.iteration - 1, 0) * p.candidates + p.candidates_scored
                update(done, (p.iteration + p.iterations_left) * p.candidates)

            timer = context.timer
            return run_search(
                search, evaluator, timer.measured, log, on_progress, confirm=timer.twice
            )

    def network(self, context: Context, arch: Arch) -> nn.Module:
        config = context.config
        if config.final.weights == "supernet":
            assert self._supernet is not None, "prepare comes first"
            count = config.search.calibration_images
            images = one_batch(context.task.calibration(count, count)).images
            return extract(self._supernet, arch, calibrate(self._supernet, arch, images))
        start = torch.Generator().manual_seed(config.run.seed)
        return build_network(context.space, arch, generator=start)

    def _inputs(self, context: Context) -> str:
        """What a search's scores and times depend on beside its own settings."""
        assert self._supernet is not None
        predictor = hashlib.sha256(context.folder.predictor.read_bytes()).hexdigest()
        conditions = (context.timer.provenance, context.config.decisive(), context.space)
        return "\n".join((predictor, content_digest(self._supernet), *map(str, conditions)))


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
