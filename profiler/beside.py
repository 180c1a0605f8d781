"""Timing programs beside one another: each as a share of one of them, in the same runs.

A machine's clock sits on one of a few levels, some percent apart, for seconds at a time, and all
programs of a process move together, so a latency by itself is uncertain by that much whatever it is
timed with. A share of another program's latency is not, where both are visited in every round.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from netadapt.android_runner.device import (
    Device,
    Failure,
    Measurement,
    Program,
    RunProgress,
    RunSpec,
)
from netadapt.profiler.errors import MeasurementError
from netadapt.profiler.row import Effort
from netadapt.profiler.timing import Gate, Recording, Timing, judge, sentinel_of

Run = Mapping[str, Measurement]

AGREEING = 0.015
"""Two runs agree when no program's share differs by more, or they are run again (assumption)."""

NORMAL_90 = 1.645


@dataclass(frozen=True, slots=True)
class Beside:
    """One program of a session.

    Parameters
    ----------
    timing: its own latency, clock level and all.
    ratio: its latency over the base program's, mean of two runs; 1 for the base itself.
    spread: half-width of the 90 % interval around `ratio`, as a share of it: by how much this
        program's two runs differ, and by how much those of all programs do. For the base, which
        has no share to repeat, by how much its own latency differs.
    """

    timing: Timing
    ratio: float
    spread: float


def time_beside(
    device: Device,
    programs: Sequence[Program],
    base: str,
    spec: RunSpec,
    gate: Gate,
    *,
    sentinel_course_us: float | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Beside]:
    """Time `programs` in runs that hold all of them; `base` names the one they are shares of.

    Parameters
    ----------
    spec: its rounds are spread over two runs of half the rounds each. Where these disagree all
        programs are run again, half as often again as the gate allows a program: a disturbance
        lasts for seconds, a session is short. Of the runs that were disturbed least, the two that
        agree best count.
    sentinel_course_us: the sentinel's usual latency; None takes the fastest of the session's runs.

    Raises `MeasurementError` when a program fails.
    """
    effort = Effort.of(spec)
    spec = dataclasses.replace(spec, rounds=max(spec.rounds // 2, 1))
    runs: list[dict[str, Measurement]] = []
    shares: list[dict[str, float]] = []
    visits = len(programs) * spec.rounds
    while True:

        def progress(p: RunProgress, before: int = visits * len(runs)) -> None:
            if on_progress:
                on_progress(before + p.done, max(2 * visits, before + p.total))

        shuffled = dataclasses.replace(spec, seed=spec.seed + len(runs))
        runs.append(_run(device, programs, shuffled, progress))
        shares.append(_shares(runs[-1], base))
        if len(runs) < 2:
            continue
        disturbed = _disturbed(runs, sentinel_course_us, gate)
        first, second = min(
            itertools.combinations(range(len(runs)), 2),
            key=lambda pair: (
                disturbed[pair[0]] + disturbed[pair[1]],
                _disagreement(shares, *pair),
            ),
        )
        pairs = {p.name: [runs[first][p.name], runs[second][p.name]] for p in programs}
        timings = {
            name: judge(pair, gate, sentinel_course_us, effort) for name, pair in pairs.items()
        }
        agree = _disagreement(shares, first, second) <= AGREEING
        calm = not disturbed[first] and not disturbed[second]
        if (calm and agree) or len(runs) >= gate.max_attempts * 3 // 2:
            break
    if isinstance(device, Recording):  # it was judged before
        recorded = [device.timing(program, spec) for program in programs]
        timings = {t.program: t for t in recorded if isinstance(t, Timing)}
    deviations = {n: shares[second][n] / us - 1 for n, us in shares[first].items() if n != base}
    usual = math.sqrt(statistics.mean(d**2 for d in deviations.values())) if deviations else 0.0
    deviations[base] = timings[base].repeat_dev
    return {
        name: Beside(
            timing,
            1.0 if name == base else math.sqrt(shares[first][name] * shares[second][name]),
            max(abs(deviations[name]), NORMAL_90 * usual) / 2,
        )
        for name, timing in timings.items()
    }


def _disturbed(runs: Sequence[Run], course_us: float | None, gate: Gate) -> list[bool]:
    """Whether each run throttled, or its sentinel took longer than it usually does.

    Other work slows some programs by a tenth more than others, so that shares are off too, however
    well two such runs agree.
    """
    sentinels = [sentinel_of(list(run.values())) or 0.0 for run in runs]
    fastest = min([*sentinels, *(() if course_us is None else (course_us,))])
    return [
        us > (1 + gate.max_sentinel_dev) * fastest
        or any(m.conditions.throttled for m in run.values())
        for us, run in zip(sentinels, runs, strict=True)
    ]


def _run(
    device: Device,
    programs: Sequence[Program],
    spec: RunSpec,
    on_progress: Callable[[RunProgress], None],
) -> dict[str, Measurement]:
    run = {}
    for answer in device.run(programs, spec, on_progress):
        if isinstance(answer, Failure):
            raise MeasurementError(
                f"a network must run on the device to be timed, {answer.program} did not "
                f"({answer.kind}: {answer.message}); see `netadapt devices`"
            )
        run[answer.program] = answer
    return run


def _shares(run: Run, base: str) -> dict[str, float]:
    levels = round_levels(run)
    latencies = {name: _level_free_us(m, levels) for name, m in run.items()}
    return {name: us / latencies[base] for name, us in latencies.items()}


def _disagreement(shares: Sequence[Mapping[str, float]], first: int, second: int) -> float:
    return max(abs(shares[second][name] / us - 1) for name, us in shares[first].items())


def round_levels(run: Run) -> tuple[float, ...]:
    """How fast each round of a run was, 1 in the middle; empty where programs lack equal rounds.

    The median over all programs, the sentinel among them, of their times in it over their own
    median.
    """
    rounds = [measurement.round_latencies_us for measurement in run.values()]
    count = len(rounds[0])
    sentinel = next(iter(run.values())).conditions.sentinel_us
    if len(sentinel) == count:
        rounds.append(sentinel)
    if any(len(times) != count for times in rounds):
        return ()
    relative = [[us / statistics.median(times) for us in times] for times in rounds]
    return tuple(statistics.median(level) for level in zip(*relative, strict=True))


def _level_free_us(measurement: Measurement, levels: Sequence[float]) -> float:
    if not levels:
        return measurement.latency_us
    rounds = zip(measurement.rounds_us, levels, strict=True)
    free = tuple(tuple(us / level for us in samples) for samples, level in rounds)
    return dataclasses.replace(measurement, rounds_us=free).latency_us
