"""What can be set about a latency table: what goes into it, and how it is lowered and timed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Interval

from netadapt.android_runner.bounds import check_bounds
from netadapt.android_runner.device import RunSpec
from netadapt.profiler.errors import SettingsError
from netadapt.profiler.lowering.recipe import DEFAULT_RECIPE

_USUAL = RunSpec()

NETWORK_ROUNDS_FACTOR = 3
"""Whole networks are few and a budget hangs on each, so they are visited this much more often."""


@dataclass(frozen=True, slots=True)
class ProfileSettings:
    """How kernels are lowered and timed.

    Parameters
    ----------
    rounds: visits of each program, in both of its runs together.
    warmup_ms: untimed execution before a program's first round.
    visit_ms: time spent sampling one program in one round.
    attempts: runs of a program until two agree; of a network among others, half as many again.
        With more than 2 what is flagged in the end is timed once more.
    batch: programs in one runner process and one transaction.
    workers: lowering processes at a time; None takes one for each core.
    recipe: how modules become programs: a registered recipe, or `package.module:Class`.

    Raises `SettingsError` for numbers outside their bounds.
    """

    rounds: Annotated[int, Interval(ge=2, le=1_000_000)] = _USUAL.rounds
    warmup_ms: Annotated[float, Ge(0)] = _USUAL.warmup_ms
    visit_ms: Annotated[float, Gt(0)] = _USUAL.visit_ms
    attempts: Annotated[int, Interval(ge=2, le=100)] = 4
    batch: Annotated[int, Interval(ge=1, le=1_000)] = 48
    workers: Annotated[int, Interval(ge=1, le=1_000)] | None = None
    recipe: str = DEFAULT_RECIPE

    def __post_init__(self) -> None:
        check_bounds(self, SettingsError)

    def spec(
        self,
        *,
        threads: int = 1,
        cpus: tuple[int, ...] | None = None,
        seed: int = 0,
        networks: bool = False,
    ) -> RunSpec:
        """How kernels, or whole `networks`, are run; the parameters are those of `RunSpec`."""
        return RunSpec(
            threads=threads,
            cpus=cpus,
            rounds=self.rounds * (NETWORK_ROUNDS_FACTOR if networks else 1),
            warmup_ms=self.warmup_ms,
            visit_ms=self.visit_ms,
            seed=seed,
        )


@dataclass(frozen=True, slots=True)
class SampleSettings:
    """What of a space goes into a latency table.

    Parameters
    ----------
    kernels: programs of single kernels; the corners of every type and the reference's kernels are
        always among them, so that a small number is exceeded.
    chains: programs of repeated kernels, which show the cost of the layout change.
    networks: whole networks, for the predictor's correction and its report on held-out data.

    Raises `SettingsError` for numbers outside their bounds.
    """

    kernels: Annotated[int, Interval(ge=1, le=1_000_000)] = 300
    chains: Annotated[int, Interval(ge=0, le=1_000_000)] = 24
    networks: Annotated[int, Interval(ge=0, le=1_000)] = 12

    def __post_init__(self) -> None:
        check_bounds(self, SettingsError)
