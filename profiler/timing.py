"""Timing with a quality gate: every program is run twice, and what disagrees is run again.

Run-to-run drift outweighs the variance within a run, so one run's own spread says little. A
program's latency is accepted when two runs in separate runner processes agree and a sentinel
program, timed through both, ran as fast as it always did. What never agrees is flagged, not
averaged away.

Two runs may agree and both be slow: beside a neighbour on the core's other hardware thread a kernel
took a third longer and the sentinel a tenth, for half a second at a time. Other work slows a device
down and nothing speeds it up, so that a run faster than both of a pair speaks against it.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from netadapt.android_runner.device import (
    Device,
    Failure,
    Measurement,
    Program,
    RunProgress,
    RunSpec,
    lower_quartile,
)
from netadapt.profiler.row import Effort, Quality

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gate:
    """What two runs of a program must show to be believed.

    Parameters
    ----------
    max_repeat_dev: largest |A'/A - 1| between the two runs, and of the faster one to the fastest
        that was not disturbed.
    max_sentinel_dev: largest deviation of the sentinel from its course, as a share: more than the
        levels of a clock are apart, less than a neighbour costs it (assumption, measured on two
        hardware threads of one core).
    max_attempts: runs a program may take in all, at least 2.
    """

    max_repeat_dev: float = 0.04
    max_sentinel_dev: float = 0.06
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
    repeat_dev, quality, attempts, effort: as in `netadapt.profiler.row.Row`.
    """

    pooled: Measurement
    repeat_dev: float
    quality: Quality
    attempts: int
    effort: Effort | None = None

    @property
    def program(self) -> str:
        """The program's name."""
        return self.pooled.program

    @property
    def latency_us(self) -> float:
        """Of the pooled rounds."""
        return self.pooled.latency_us

    @property
    def sentinel_us(self) -> float | None:
        """The sentinel's latency in the two runs; None where there was none."""
        return sentinel_of([self.pooled])


@runtime_checkable
class Recording(Protocol):
    """A device of which every program was timed and judged before, so that nothing is run again.

    `source` is the file that it reads, None where there is none.
    """

    source: Path | None

    def timing(self, program: Program, spec: RunSpec) -> Timing | Failure:
        """How `program` was timed with the threads and cores of `spec`, or why it was not."""
        ...


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
    sentinel_course_us: what the sentinel took in earlier sessions. Its course is that, or what it
        takes in the fastest of these runs: other work slows a device down, nothing speeds it up.
    on_progress: called with (visits done, visits expected); the expectation grows with repeats.

    What a `Recording` was asked of before comes as it was judged then.
    """
    if isinstance(device, Recording):
        for program in programs:
            yield device.timing(program, spec)
        if on_progress:
            on_progress(len(programs), len(programs))
        return
    effort = Effort.of(spec)
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
        sentinel_us = sentinel_of([runs[p.name][-1] for p in open_programs])
        if sentinel_us is not None:
            sentinels_us.append(sentinel_us)
        if attempt == 0:
            continue
        known = sentinels_us if sentinel_course_us is None else [*sentinels_us, sentinel_course_us]
        course_us = min(known, default=None)
        still_open = []
        for program in open_programs:
            timing = judge(runs[program.name], gate, course_us, effort)
            if timing.quality == "ok" or attempt + 1 == gate.max_attempts:
                yield timing
            else:
                still_open.append(program)
        open_programs = still_open
    if on_progress:
        on_progress(done, done)


def sentinel_of(measurements: Sequence[Measurement]) -> float | None:
    """The sentinel's latency over these measurements, microseconds; None where there was none."""
    rounds = [us for m in measurements for us in m.conditions.sentinel_us]
    return lower_quartile(rounds) if rounds else None


def judge(
    runs: Sequence[Measurement],
    gate: Gate,
    course_us: float | None,
    effort: Effort | None = None,
) -> Timing:
    """The pair of runs that agree best among those that were disturbed least and took the shortest.

    Parameters
    ----------
    course_us: the sentinel's usual latency; None where it is not known.
    effort: of the two runs together.
    """

    def off_course(run: Measurement) -> float:
        sentinel = sentinel_of([run])
        return 0.0 if sentinel is None or course_us is None else abs(sentinel / course_us - 1)

    def on_course(run: Measurement) -> bool:  # one that is no number at all is not
        return off_course(run) <= gate.max_sentinel_dev

    fastest_us = min(
        (run.latency_us for run in runs if on_course(run) and not run.conditions.throttled),
        default=0.0,
    )

    def rank(pair: tuple[Measurement, Measurement]) -> tuple[bool, bool, bool, float]:
        throttled = any(run.conditions.throttled for run in pair)
        drifted = not all(map(on_course, pair))
        disagreement = abs(pair[1].latency_us / pair[0].latency_us - 1)
        slow = min(run.latency_us for run in pair) > (1 + gate.max_repeat_dev) * fastest_us > 0
        return throttled, drifted, slow or disagreement > gate.max_repeat_dev, disagreement

    pairs = [(a, b) for i, a in enumerate(runs) for b in runs[i + 1 :]]
    first, second = min(pairs, key=rank)
    throttled, drifted, unstable, _ = rank((first, second))
    quality: Quality = "ok"
    if throttled:
        quality = "throttled"
    elif drifted:
        quality = "drifted"
    elif unstable:
        quality = "unstable"
    return Timing(
        _pool(first, second),
        second.latency_us / first.latency_us - 1,
        quality,
        len(runs),
        effort,
    )


def _pool(first: Measurement, second: Measurement) -> Measurement:
    """Both runs as one: what was so before the first, all rounds, and the rest of the second."""
    earlier, later = first.conditions, second.conditions
    names = [field.name for field in dataclasses.fields(earlier)]
    before = {name: getattr(earlier, name) for name in names if name.endswith("_before")}
    return dataclasses.replace(
        second,
        rounds_us=(*first.rounds_us, *second.rounds_us),
        conditions=dataclasses.replace(
            later,
            **before,
            sentinel_us=(*earlier.sentinel_us, *later.sentinel_us),
            round_freqs_khz=(*earlier.round_freqs_khz, *later.round_freqs_khz),
            throttled=earlier.throttled or later.throttled,
            started_at=earlier.started_at,
        ),
    )
