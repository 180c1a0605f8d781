"""Timing with a quality gate: every program is run twice, and what disagrees is run again.

Run-to-run drift outweighs the variance within a run, so one run's own spread says little. A
program's latency is accepted when two runs in separate runner processes agree and a sentinel
program, timed through both, ran as fast as it always did. What never agrees is flagged, not
averaged away.
"""

from __future__ import annotations

import dataclasses
import logging
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from netadapt.android_runner.device import (
    Device,
    Failure,
    Measurement,
    Program,
    RunProgress,
    RunSpec,
)
from netadapt.profiler.table import Quality

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gate:
    """What two runs of a program must show to be believed.

    Parameters
    ----------
    max_repeat_dev: largest |A'/A - 1| between the two runs.
    max_sentinel_dev: largest deviation of the sentinel from its course, as a share.
    max_attempts: runs a program may take in all, at least 2.
    """

    max_repeat_dev: float = 0.04
    max_sentinel_dev: float = 0.10
    max_attempts: int = 4

    def __post_init__(self) -> None:
        if self.max_attempts < 2 or self.max_repeat_dev <= 0 or self.max_sentinel_dev <= 0:
            raise ValueError(
                f"a gate needs at least 2 attempts and limits above 0, got {self}; use the defaults"
            )


@dataclass(frozen=True, slots=True)
class Timing:
    """The believed latency of one program: the two runs that agreed best, and how well.

    Parameters
    ----------
    pooled: the rounds of both runs as one measurement, conditions from the first's start to the
        second's end.
    repeat_dev, quality, attempts: as in `netadapt.profiler.table.Row`.
    """

    pooled: Measurement
    repeat_dev: float
    quality: Quality
    attempts: int

    @property
    def program(self) -> str:
        return self.pooled.program

    @property
    def latency_us(self) -> float:
        return self.pooled.latency_us

    @property
    def sentinel_us(self) -> float | None:
        return _sentinel_us([self.pooled])


def time_programs(
    device: Device,
    programs: Sequence[Program],
    spec: RunSpec,
    gate: Gate,
    *,
    sentinel_course_us: float | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[Timing | Failure]:
    """Time one batch of programs; one answer for each, when its runs agree or attempts are up.

    Parameters
    ----------
    spec: its rounds are spread over two runs of half the rounds each.
    sentinel_course_us: the sentinel's usual latency; None takes the median over these runs.
    on_progress: called with (visits done, visits expected); the expectation grows with repeats.
    """
    spec = dataclasses.replace(spec, rounds=max(spec.rounds // 2, 1))
    runs: dict[str, list[Measurement]] = {program.name: [] for program in programs}
    # Of each run: the first one, which may be disturbed itself, must not judge all others.
    sentinels_us: list[float] = []
    open_programs = list(programs)
    done = 0
    for attempt in range(gate.max_attempts):
        if not open_programs:
            return
        expected = done + len(open_programs) * spec.rounds * (2 if attempt == 0 else 1)
        base = done

        def progress(p: RunProgress, base: int = base, expected: int = expected) -> None:
            if on_progress:
                on_progress(base + p.done, max(expected, base + p.total))

        shuffled = dataclasses.replace(spec, seed=spec.seed + attempt)
        failed = set()
        for answer in device.run(open_programs, shuffled, progress):
            if isinstance(answer, Failure):
                failed.add(answer.program)
                yield answer
            else:
                runs[answer.program].append(answer)
        done += len(open_programs) * spec.rounds
        open_programs = [p for p in open_programs if p.name not in failed]
        sentinel_us = _sentinel_us([runs[p.name][-1] for p in open_programs])
        if sentinel_us is not None:
            sentinels_us.append(sentinel_us)
        if attempt == 0:
            continue
        course_us = sentinel_course_us
        if course_us is None and sentinels_us:
            course_us = statistics.median(sentinels_us)
        still_open = []
        for program in open_programs:
            timing = judge(runs[program.name], gate, course_us)
            if timing.quality == "ok" or attempt + 1 == gate.max_attempts:
                yield timing
            else:
                still_open.append(program)
        open_programs = still_open
    if on_progress:
        on_progress(done, done)


def _sentinel_us(measurements: Sequence[Measurement]) -> float | None:
    rounds = [us for m in measurements for us in m.conditions.sentinel_us]
    return statistics.median(rounds) if rounds else None


def judge(runs: Sequence[Measurement], gate: Gate, course_us: float | None) -> Timing:
    """The pair of runs that agree best, the steadier by the sentinel where several agree."""

    def off_course(run: Measurement) -> float:
        sentinel = _sentinel_us([run])
        return 0.0 if sentinel is None or course_us is None else abs(sentinel / course_us - 1)

    def rank(pair: tuple[Measurement, Measurement]) -> tuple[bool, bool, float]:
        throttled = any(run.conditions.throttled for run in pair)
        # A sentinel that is no number at all is off its course, too.
        drifted = not all(off_course(run) <= gate.max_sentinel_dev for run in pair)
        return throttled, drifted, abs(pair[1].latency_us / pair[0].latency_us - 1)

    pairs = [(a, b) for i, a in enumerate(runs) for b in runs[i + 1 :]]
    first, second = min(pairs, key=rank)
    throttled, drifted, disagreement = rank((first, second))
    quality: Quality = "ok"
    if throttled:
        quality = "throttled"
    elif drifted:
        quality = "drifted"
    elif disagreement > gate.max_repeat_dev:
        quality = "unstable"
    return Timing(
        _pool(first, second), second.latency_us / first.latency_us - 1, quality, len(runs)
    )


def _pool(first: Measurement, second: Measurement) -> Measurement:
    before, after = first.conditions, second.conditions
    return dataclasses.replace(
        second,
        rounds_us=(*first.rounds_us, *second.rounds_us),
        conditions=dataclasses.replace(
            after,
            freq_khz_before=before.freq_khz_before,
            temperature_c_before=before.temperature_c_before,
            load_avg_before=before.load_avg_before,
            limits_khz_before=before.limits_khz_before,
            sentinel_us=(*before.sentinel_us, *after.sentinel_us),
            round_freqs_khz=(*before.round_freqs_khz, *after.round_freqs_khz),
            throttled=before.throttled or after.throttled,
            started_at=before.started_at,
        ),
    )
