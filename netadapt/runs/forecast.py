"""What a whole run still has to do, and about how long that takes, without making anything."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from netadapt.runs.budgets import budgets_of
from netadapt.runs.folder import RunFolder
from netadapt.runs.parts import Parts
from netadapt.runs.profile_plan import Forecast, plan_profile, roughly
from netadapt.runs.rehearsal import last_step_s, rehearsed
from netadapt.runs.strategy import make_strategy
from netadapt.search.network import build_network
from netadapt.search.training import train_network

SCALED = 3
"""Networks that each found one is compared with."""

_NETWORK_S = 4.0
"""Lowering and timing one whole network: an assumption."""


@dataclass(frozen=True, slots=True)
class RunForecast:
    """How much of a run is left to do.

    Parameters
    ----------
    finished: the result is there, and nothing is left.
    profile: None where the predictor is there.
    prepares: the strategy's name of the training that comes before its searches.
    supernet_steps, networks, network_steps: of trainings; `supernet_steps` of that one,
        `network_steps` of each network.
    evaluations, measured: networks judged, and measured whole, while searching; roughly, since
        where a search ends depends on latencies. None where the strategy cannot say, as
        `supernet_steps` where it trains none.
    seconds: of all that is known, roughly, from a few steps of each kind on this computer.
    """

    finished: bool
    profile: Forecast | None
    prepares: str
    supernet_steps: int | None
    evaluations: int | None
    measured: int | None
    networks: int
    network_steps: int
    seconds: float

    def lines(self) -> list[str]:
        """For a person."""
        if self.finished:
            return ["finished; nothing is left to do"]
        profiling = "profiled already" if self.profile is None else str(self.profile)
        known = self.evaluations is not None
        return [
            profiling,
            *(
                [f"{self.prepares}: {self.supernet_steps} steps"]
                if self.supernet_steps is not None
                else []
            ),
            f"search: about {self.evaluations} networks judged, {self.measured} of them measured"
            if known
            else "search: how long it takes cannot be said before it is done",
            f"{self.networks} networks: {self.network_steps} steps of training each",
            f"in all {'' if known else 'without the search '}{roughly(self.seconds)} at the "
            "present pace of this computer",
        ]


def plan_run(parts: Parts, folder: RunFolder) -> RunForecast:
    """What a run would do in `folder`. Raises what the run would raise at its start."""
    config = parts.config
    parts.check_fit()
    folder.check(config)
    if folder.result.exists():
        return RunForecast(True, None, "", 0, 0, 0, 0, 0, 0.0)
    plan = plan_profile(parts)
    profile = None if folder.predictor.exists() else plan.forecast(folder.table)
    chosen = config.search.strategy
    strategy = make_strategy(chosen.name, chosen.settings)
    search = strategy.forecast(parts, folder)
    of_each = 1 + (SCALED if config.final.scaled else 0)
    networks = 1 + len(budgets_of(config.search.constraints)) * of_each
    timed = 2 * networks + (search.measured or 0)
    seconds = (
        (0.0 if profile is None else profile.seconds)
        + search.seconds
        + networks * parts.final_training.steps * _network_step_s(parts)
        + timed * _NETWORK_S
    )
    return RunForecast(
        finished=False,
        profile=profile,
        prepares=strategy.prepares,
        supernet_steps=search.supernet_steps,
        evaluations=search.evaluations,
        measured=search.measured,
        networks=networks,
        network_steps=parts.final_training.steps,
        seconds=seconds,
    )


def _network_step_s(parts: Parts) -> float:
    settings = rehearsed(parts.final_training)
    task, seed = parts.task, parts.config.run.seed
    start = torch.Generator().manual_seed(seed)
    network = build_network(parts.space, parts.space.reference(), generator=start)
    return last_step_s(
        lambda note: train_network(network, task, settings, seed=seed, on_progress=note)
    )
