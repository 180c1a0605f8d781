"""What the steps of a run share: its parts, made when first asked for, and what steps leave."""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from torch import nn

from netadapt.console import Progress, Update
from netadapt.predictor.predictor import LatencyPredictor, MemoisedPredictor
from netadapt.profiler.table import LatencyTable
from netadapt.runs.budgets import Budget, budgets_of
from netadapt.runs.folder import SearchFolder
from netadapt.runs.latency import latency_metric, remembered
from netadapt.runs.network_timer import NetworkTimer
from netadapt.runs.training_log import TrainingLog
from netadapt.search.metrics import Constraint

if TYPE_CHECKING:
    from netadapt.config import RunConfig
    from netadapt.profiler.profile import OnProgress
    from netadapt.runs.folder import RunFolder
    from netadapt.runs.parts import Parts
    from netadapt.runs.result import NetworkResult, RunResult
    from netadapt.search.driver import SearchResult
    from netadapt.search.landing import Search
    from netadapt.search.searchers.base import Searcher
    from netadapt.search.space import Arch, Space
    from netadapt.search.task import Task
    from netadapt.search.training import TrainingProgress


@dataclass(frozen=True, slots=True)
class FinalNetwork:
    """A network to be trained to its end; what it is scaled by is None for the found one.

    Parameters
    ----------
    label: unique in the run.
    checkpoint: of its training.
    """

    label: str
    arch: Arch
    checkpoint: Path
    kernel_sizes: str | None = None
    multiplier: float | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found for one budget, and the scaled networks that it is compared with."""

    budget: Budget
    budget_ms: float | None
    result: SearchResult
    network: FinalNetwork
    scaled: tuple[FinalNetwork, ...] = ()

    @property
    def ms(self) -> float:
        """What the found network takes by itself."""
        assert self.result.confirmed_ms is not None
        return statistics.mean(self.result.confirmed_ms)

    @property
    def finals(self) -> tuple[FinalNetwork, ...]:
        """The networks that are trained for this budget, the found one first."""
        return (self.network, *self.scaled)


@dataclass
class Context:
    """One run under way. Close it, or use it as a context manager.

    Parameters
    ----------
    before: the result that budgets are added to; None in a run's first pass.
    found: by the budget's label, in the order of the searches.
    trained, judged: by the label of a final network.
    """

    parts: Parts
    folder: RunFolder
    progress: Progress
    before: RunResult | None = None
    found: dict[str, Found] = field(default_factory=dict)
    trained: dict[str, nn.Module] = field(default_factory=dict)
    judged: dict[str, NetworkResult] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._closing = ExitStack()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    @property
    def config(self) -> RunConfig:
        """What the run is to do."""
        return self.parts.config

    @property
    def space(self) -> Space:
        """Where it searches."""
        return self.parts.space

    @property
    def task(self) -> Task:
        """What its networks are trained for."""
        return self.parts.task

    @cached_property
    def table(self) -> LatencyTable:
        """The run's latency table, open until the context is closed."""
        return self._closing.enter_context(LatencyTable(self.folder.table))

    @cached_property
    def predictor(self) -> LatencyPredictor:
        """The predictor as it was fitted, before any search taught it more."""
        return LatencyPredictor.load(self.folder.predictor)

    @cached_property
    def _remembered(self) -> MemoisedPredictor:
        return remembered(self.predictor)

    @cached_property
    def timer(self) -> NetworkTimer:
        """Times whole networks on the run's device."""
        return NetworkTimer(self.parts, self.table, sessions=self.folder.sessions)

    @property
    def reference_ms(self) -> float:
        """What the space's reference network takes; measured when it is first asked for."""
        reference_ms, _ = self.timer.reference()
        return reference_ms

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """All budgets of the run, the largest first."""
        return budgets_of(self.config.search.constraints)

    @property
    def new_budgets(self) -> tuple[Budget, ...]:
        """Those that no earlier result answers."""
        done = set() if self.before is None else {search.label for search in self.before.searches}
        return tuple(budget for budget in self.budgets if budget.label not in done)

    def search_folder(self, budget: Budget) -> SearchFolder:
        """The files of the search for a budget; the folder is made."""
        folder = self.folder.search(budget.label)
        folder.path.mkdir(parents=True, exist_ok=True)
        return folder

    def search(self, budget_ms: float | None, searcher: Searcher | None = None) -> Search:
        """The run's search for a latency budget, or for its other constraints alone.

        `searcher` None: the one that the configuration names.
        """
        latency = latency_metric(self.space, self._remembered)
        constraints = self.parts.counted_constraints()
        if budget_ms is not None:
            constraints.insert(0, Constraint(latency, budget_ms))
        return self.parts.search(constraints, searcher)

    def inputs(self, *own: str) -> str:
        """What a search's scores and times depend on beside its own settings, for its log.

        own: what the strategy adds, e.g. a digest of its weights.
        """
        predictor = hashlib.sha256(self.folder.predictor.read_bytes()).hexdigest()
        conditions = (self.timer.provenance, self.config.decisive(), self.space)
        return "\n".join((predictor, *own, *map(str, conditions)))

    def reference(self) -> FinalNetwork:
        """The space's reference, one of the networks that are trained to their end."""
        checkpoint = self.folder.training / "reference.pt"
        return FinalNetwork("reference", self.space.reference(), checkpoint, "own", 1.0)

    @contextmanager
    def training(self, phase: str, what: str) -> Iterator[Callable[[TrainingProgress], None]]:
        """What a training reports to: a step of the run's progress, and the training log."""
        folder = self.folder
        with (
            self.progress.step(f"Training {what}") as update,
            TrainingLog(folder.metrics, phase, tensorboard=folder.tensorboard) as log,
        ):

            def on_progress(p: TrainingProgress) -> None:
                update(p.step, p.steps)
                log(p)

            yield on_progress


@contextmanager
def phases(progress: Progress, what: str) -> Iterator[OnProgress]:
    """A progress step for each phase of a profiler, begun when the phase is."""
    titles = {"lower": f"Lowering {what}", "measure": f"Timing {what}"}
    with ExitStack() as stack:
        begun: dict[str, Update] = {}

        def on_progress(phase: str, done: int, total: int) -> None:
            if phase not in begun:
                stack.close()
                begun[phase] = stack.enter_context(progress.step(titles[phase]))
            begun[phase](done, total)

        yield on_progress
