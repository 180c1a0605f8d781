"""The super-network search of NetAdaptV2: one training for all budgets, shrunk by a searcher."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import torch

from netadapt.android_runner.plugins import NoSettings
from netadapt.runs.budgets import budgets_of
from netadapt.runs.rehearsal import last_step_s, rehearsed
from netadapt.runs.strategy import SearchForecast, Strategy
from netadapt.search.driver import open_log, run_search
from netadapt.search.evaluation import Evaluator
from netadapt.search.network import build_network
from netadapt.search.supernet import SuperNetwork, calibrate, extract
from netadapt.search.task import one_batch
from netadapt.search.training import train_supernet
from netadapt.search.training.checkpoint import content_digest
from netadapt.search.trials import read_iterations, runner_up

if TYPE_CHECKING:
    from torch import nn

    from netadapt.runs.budgets import Budget
    from netadapt.runs.context import Context
    from netadapt.runs.folder import RunFolder
    from netadapt.runs.parts import Parts
    from netadapt.search.driver import EvaluateArchs, SearchProgress, SearchResult
    from netadapt.search.landing import Search
    from netadapt.search.space import Arch


SCORED_AT_ONCE = 16
"""Archs that race each other, whatever the number of processes: a kill loses at most as many."""


class SuperNetworkSearch(Strategy):
    """One super-network for all budgets, shrunk by the run's searcher (NetAdaptV2)."""

    settings_class: ClassVar[type] = NoSettings
    prepares: ClassVar[str] = "train the super-network"

    def __init__(self, settings: NoSettings | None = None) -> None:
        super().__init__(settings)
        self._supernet: SuperNetwork | None = None

    def prepare(self, context: Context) -> None:
        supernet = new_supernet(context.parts)
        with context.training("supernet", "the super-network") as on_progress:
            train_supernet(
                supernet,
                context.task,
                context.parts.supernet_training,
                context.parts.step,
                seed=context.config.run.seed,
                checkpoint=context.folder.supernet,
                on_progress=on_progress,
            )
        supernet.eval()
        self._supernet = supernet

    def find(self, context: Context, budget: Budget, budget_ms: float | None) -> SearchResult:
        assert self._supernet is not None, "prepare comes first"
        evaluator = Evaluator(self._supernet, context.task, context.config.search.evaluation)
        digest = content_digest(self._supernet)
        result = run_logged(context, budget, context.search(budget_ms), evaluator, digest)
        folder = context.search_folder(budget)
        other = runner_up(read_iterations(folder.trials), result.arch.to_json())
        if other is None or evaluator.settings.score != "loss":
            return result
        lead = evaluator.lead(result.arch, context.space.arch_from_json(other.arch))
        return replace(result, lead=lead)

    def network(self, context: Context, arch: Arch) -> nn.Module:
        config = context.config
        if config.final.weights == "scratch":
            return new_network(context.parts, arch)
        assert self._supernet is not None, "prepare comes first"
        count = config.search.evaluation.calibration_images
        images = one_batch(context.task.calibration(count, count)).images
        images = images.to(context.parts.compute)
        return extract(self._supernet, arch, calibrate(self._supernet, arch, images))

    def forecast(self, parts: Parts, folder: RunFolder) -> SearchForecast:
        supernet = new_supernet(parts)
        steps = parts.supernet_training.steps - steps_done(folder)
        seconds = steps * _supernet_step_s(parts, supernet)
        expected = evaluations(parts)
        if expected is None:
            return SearchForecast(steps, seconds=seconds)
        judged, measured = expected
        return SearchForecast(
            steps, judged, measured, seconds + judged * _evaluation_s(parts, supernet)
        )


def run_logged(
    context: Context,
    budget: Budget,
    search: Search,
    evaluate: EvaluateArchs,
    digest: str,
    *,
    on_accept: Callable[[Arch], None] | None = None,
    batch_size: int = SCORED_AT_ONCE,
) -> SearchResult:
    """Run a search on the run's device with its log in the run's folder; resumes from there.

    Parameters
    ----------
    digest: of what `evaluate` scores with.
    on_accept, batch_size: as `run_search` has them.
    """
    timer = context.timer
    with (
        open_log(context.search_folder(budget).trials, search, context.inputs(digest)) as log,
        context.progress.step(f"Searching {budget.label}") as update,
    ):

        def on_progress(p: SearchProgress) -> None:
            done = max(p.iteration - 1, 0) * p.candidates + p.candidates_scored
            update(done, (p.iteration + p.iterations_left) * p.candidates)

        return run_search(
            search,
            evaluate,
            timer.measured,
            log,
            on_progress,
            confirm=timer.twice,
            on_accept=on_accept,
            batch_size=batch_size,
        )


def new_supernet(parts: Parts) -> SuperNetwork:
    """Untrained, by the run's seed, where it is to be trained."""
    start = torch.Generator().manual_seed(parts.config.run.seed)
    return parts.space.supernetwork(generator=start).to(parts.compute)


def new_network(parts: Parts, arch: Arch) -> nn.Module:
    """The arch's network, untrained, by the run's seed."""
    start = torch.Generator().manual_seed(parts.config.run.seed)
    return build_network(parts.space, arch, generator=start)


def evaluations(parts: Parts) -> tuple[int, int] | None:
    """Networks judged and measured for all budgets together; None where nobody can say."""
    searches = [_evaluations(parts, b) for b in budgets_of(parts.config.search.constraints)]
    known = [each for each in searches if each is not None]
    if len(known) < len(searches):
        return None
    return sum(judged for judged, _ in known), sum(measured for _, measured in known)


def _evaluations(parts: Parts, budget: Budget) -> tuple[int, int] | None:
    """Networks judged and measured for one budget, with MACs in latency's place.

    None where the searcher cannot say.
    """
    section, space = parts.config.search, parts.space
    full, reference = space.macs(space.full()), space.macs(space.reference())
    share = budget.latency_share
    if share is None and section.constraints.macs is not None:
        share = section.constraints.macs / reference
    goal = min((share or 0.5) * reference / full, 0.99)
    forecast = parts.searcher.forecast(goal)
    if forecast is None:
        return None
    rounds, judged = forecast
    return judged, rounds * section.loop.favourites * section.loop.measures


def steps_done(folder: RunFolder) -> int:
    """Steps of the super-network's training that its checkpoint holds."""
    if not folder.supernet.exists():
        return 0
    try:
        return int(torch.load(folder.supernet, map_location="cpu", weights_only=True)["step"])
    except Exception:  # torch.load raises anything; the run itself says what is wrong with it
        return 0


def _supernet_step_s(parts: Parts, supernet: SuperNetwork) -> float:
    settings = rehearsed(parts.supernet_training)
    task, step, seed = parts.task, parts.step, parts.config.run.seed
    return last_step_s(
        lambda note: train_supernet(supernet, task, settings, step, seed=seed, on_progress=note)
    )


def _evaluation_s(parts: Parts, supernet: SuperNetwork) -> float:
    evaluator = Evaluator(supernet, parts.task, parts.config.search.evaluation)
    evaluator.prepare()
    begin = time.perf_counter()
    evaluator([parts.space.reference()])
    return time.perf_counter() - begin
