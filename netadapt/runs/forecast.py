"""What a whole run still has to do, and about how long that takes, without making anything."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from netadapt.runs.budgets import Budget, budgets_of
from netadapt.runs.folder import RunFolder
from netadapt.runs.parts import Parts
from netadapt.runs.profile_plan import Forecast, plan_profile, roughly
from netadapt.search.evaluation import Evaluator
from netadapt.search.network import build_network
from netadapt.search.supernet import SuperNetwork
from netadapt.search.training import (
    TrainingProgress,
    TrainingSettings,
    train_network,
    train_supernet,
)

SCALED = 3
"""Networks that each found one is compared with."""

_TIMED_STEPS = 3
_NETWORK_S = 4.0
"""Lowering and timing one whole network: an assumption."""


@dataclass(frozen=True, slots=True)
class RunForecast:
    """How much of a run is left to do.

    Parameters
    ----------
    finished: the result is there, and nothing is left.
    profile: None where the predictor is there.
    supernet_steps, networks, network_steps: of trainings; `network_steps` of each network.
    evaluations, measured: networks judged, and measured whole, while searching; roughly, since
        where a search ends depends on latencies. 0: the searcher does not say.
    seconds: of all, roughly, from a few steps of each kind on this computer.
    """

    finished: bool
    profile: Forecast | None
    supernet_steps: int
    evaluations: int
    measured: int
    networks: int
    network_steps: int
    seconds: float

    def lines(self) -> list[str]:
        """For a person."""
        if self.finished:
            return ["finished; nothing is left to do"]
        profiling = "profiled already" if self.profile is None else str(self.profile)
        return [
            profiling,
            f"super-network: {self.supernet_steps} steps of training",
            f"search: about {self.evaluations} networks judged, {self.measured} of them measured"
            if self.evaluations
            else "search: its searcher forecasts no number of networks; not in the time below",
            f"{self.networks} networks: {self.network_steps} steps of training each",
            f"in all {roughly(self.seconds)} at the present pace of this computer",
        ]


def plan_run(parts: Parts, folder: RunFolder) -> RunForecast:
    """What a run would do in `folder`. Raises what the run would raise at its start."""
    config, space = parts.config, parts.space
    parts.check_fit()
    folder.check(config)
    if folder.result.exists():
        return RunForecast(True, None, 0, 0, 0, 0, 0, 0.0)
    plan = plan_profile(parts)
    profile = None if folder.predictor.exists() else plan.forecast(folder.table)
    supernet = space.supernetwork(generator=torch.Generator().manual_seed(config.run.seed))
    budgets = budgets_of(config.search.constraints)
    searches = [_evaluations(parts, budget) for budget in budgets]
    evaluations = sum(judged for judged, _ in searches)
    measured = sum(some for _, some in searches)
    supernet_steps = config.supernet.training.steps - _steps_done(folder)
    networks = 1 + len(budgets) * (1 + SCALED)
    seconds = (
        (0.0 if profile is None else profile.seconds)
        + supernet_steps * _supernet_step_s(parts, supernet)
        + evaluations * _evaluation_s(parts, supernet)
        + networks * config.final.training.steps * _network_step_s(parts)
        + (measured + 2 * networks) * _NETWORK_S
    )
    return RunForecast(
        finished=False,
        profile=profile,
        supernet_steps=supernet_steps,
        evaluations=evaluations,
        measured=measured,
        networks=networks,
        network_steps=config.final.training.steps,
        seconds=seconds,
    )


def _evaluations(parts: Parts, budget: Budget) -> tuple[int, int]:
    """Networks judged and measured for one budget, with MACs in latency's place."""
    section, space = parts.config.search, parts.space
    full, reference = space.macs(space.full()), space.macs(space.reference())
    share = budget.latency_share
    if share is None and section.constraints.macs is not None:
        share = section.constraints.macs / reference
    goal = min((share or 0.5) * reference / full, 0.99)
    rounds, judged = parts.searcher.forecast(goal) or (0, 0)
    return judged, rounds * section.loop.favourites * section.loop.measures


def _steps_done(folder: RunFolder) -> int:
    """Steps of the super-network's training that its checkpoint holds."""
    if not folder.supernet.exists():
        return 0
    try:
        return int(torch.load(folder.supernet, map_location="cpu", weights_only=True)["step"])
    except Exception:  # torch.load raises anything; the run itself says what is wrong with it
        return 0


def _supernet_step_s(parts: Parts, supernet: SuperNetwork) -> float:
    settings = _rehearsed(parts.config.supernet.training)
    task, step, seed = parts.task, parts.step, parts.config.run.seed
    return _last_step_s(
        lambda note: train_supernet(supernet, task, settings, step, seed=seed, on_progress=note)
    )


def _network_step_s(parts: Parts) -> float:
    settings = _rehearsed(parts.config.final.training)
    task, seed = parts.task, parts.config.run.seed
    start = torch.Generator().manual_seed(seed)
    network = build_network(parts.space, parts.space.reference(), generator=start)
    return _last_step_s(
        lambda note: train_network(network, task, settings, seed=seed, on_progress=note)
    )


def _rehearsed(settings: TrainingSettings) -> TrainingSettings:
    """A few steps of a training, too small to change or to break anything."""
    return dataclasses.replace(
        settings, steps=_TIMED_STEPS, warmup_steps=0, norm_batches=0, learning_rate=1e-9
    )


def _last_step_s(train: Callable[[Callable[[TrainingProgress], None]], None]) -> float:
    """Seconds of the fastest step but the first, which sets things up."""
    ends: list[float] = []
    train(lambda _: ends.append(time.perf_counter()))
    return min(after - before for before, after in itertools.pairwise(ends))


def _evaluation_s(parts: Parts, supernet: SuperNetwork) -> float:
    evaluator = Evaluator(supernet, parts.task, parts.config.search.evaluation)
    evaluator.prepare()
    begin = time.perf_counter()
    evaluator([parts.space.reference()])
    return time.perf_counter() - begin
