"""Kernels and networks to rows of a latency table: lower, time, judge, write, batch by batch."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from netadapt.android_runner.device import Device, Failure, Program, RunSpec
from netadapt.profiler.beside import Beside, time_beside
from netadapt.profiler.errors import (
    LoweringError,
    MeasurementError,
    TableError,
    UnknownLayerError,
)
from netadapt.profiler.kernels import Kernel, PointwiseConvKernel, Shape, record_kernels
from netadapt.profiler.keys import network_key
from netadapt.profiler.lowering.cache import ProgramCache
from netadapt.profiler.lowering.programs import lower_networks, lower_subjects
from netadapt.profiler.lowering.registry import find_lowering
from netadapt.profiler.lowering.seam import Lowering
from netadapt.profiler.lowering.subject import ShapedNetwork, Subject
from netadapt.profiler.row import Effort, Provenance, Quality, Row
from netadapt.profiler.settings import ProfileSettings
from netadapt.profiler.table import LatencyTable
from netadapt.profiler.timing import Gate, Recording, Timing, time_programs

logger = logging.getLogger(__name__)

SENTINEL = Subject(PointwiseConvKernel(64, 64, 28, 28, "relu"))
"""The kernel that is re-timed all through every run; the same for all tables."""

COURSE_QUANTILE = 0.1
"""Of a table's sentinels: its first batches may have been measured beside other work."""


def course_of(sentinels_us: Sequence[float]) -> float | None:
    """What the sentinel takes undisturbed, of what it took in many rows; None of nothing."""
    return float(np.quantile(sentinels_us, COURSE_QUANTILE)) if sentinels_us else None


def sentinel_program(cache: ProgramCache, lowering: Lowering) -> Program:
    """The sentinel's program, lowered where the cache has none.

    Raises `LoweringError` where it cannot be.
    """
    lower_subjects([SENTINEL], cache, lowering=lowering, workers=1)
    data = cache.get(SENTINEL.cache_key(lowering))
    if data is None:
        raise LoweringError(
            f"the sentinel must be lowered, {SENTINEL.name} could not be; reinstall executorch"
        )
    return Program("sentinel", data)


Phase = Literal["lower", "measure"]
OnProgress = Callable[[Phase, int, int], None]


@dataclass(frozen=True, slots=True)
class ProfileSummary:
    """What a call of `profile` did.

    Parameters
    ----------
    present: rows that were there, and settled.
    measured: programs that were timed; those that others are better than are not written.
    flagged: of these, those of another quality than "ok".
    failures: programs that could not be lowered or run.
    """

    present: int
    measured: int
    flagged: int
    failures: tuple[Failure, ...]


def provenance_of(device: Device, spec: RunSpec, lowering: Lowering) -> Provenance:
    """What rows of programs that `lowering` made share, taken on `device` under `spec`."""
    return Provenance(
        device=device.info(),
        recipe=lowering.recipe,
        lowering=", ".join(lowering.versions()),
        threads=spec.threads,
        cpus=",".join(map(str, device.cpus(spec))),
    )


class Profiler:
    """Times kernels and networks on one device under one set of conditions, into one table.

    The programs of a batch are timed twice in processes of their own (`netadapt.profiler.timing`);
    a batch is written in one transaction, so that a kill loses the batch in flight and no more.
    What is flagged when all are through is timed once more, some time after what disturbed it;
    not with 2 attempts, which repeat nothing.

    What the table has is measured again where it is flagged, or was measured with less effort. The
    new row replaces the old one where it is better; see `netadapt.profiler.row.Standing`.

    Parameters
    ----------
    spec: threads, cores, rounds and times of a visit; None takes those of `settings`.
    gate: what two runs must show to be believed; None takes the usual, with the attempts of
        `settings`.
    """

    def __init__(
        self,
        device: Device,
        table: LatencyTable,
        cache: ProgramCache | None = None,
        settings: ProfileSettings | None = None,
        spec: RunSpec | None = None,
        gate: Gate | None = None,
    ) -> None:
        self.device = device
        self.table = table
        self.cache = cache or ProgramCache()
        self.settings = settings or ProfileSettings()
        self.gate = gate or Gate(max_attempts=self.settings.attempts)
        if isinstance(device, Recording) and _is_file(table.path, device.source):
            raise TableError(
                f"a table is filled from another one, got {table.path} for both; name another "
                "table to fill"
            )
        self.lowering = find_lowering(self.settings.recipe)
        spec = spec or self.settings.spec()
        sentinel = sentinel_program(self.cache, self.lowering)
        self._spec = dataclasses.replace(spec, sentinel=sentinel)
        self._effort = Effort.of(spec)
        self._warm = False
        self.provenance = provenance_of(device, spec, self.lowering)

    def program(self, subject: Subject) -> bytes | None:
        """The subject's program, where the cache has it."""
        return self.cache.get(subject.cache_key(self.lowering))

    def kernels(
        self, subjects: Sequence[Subject], on_progress: OnProgress | None = None
    ) -> ProfileSummary:
        """Measure the subjects that the table lacks, or has flagged or hasty rows of."""
        settled = self._settled()
        wanted = [s for s in dict.fromkeys(subjects) if (s.kernel.key, s.copies) not in settled]
        refused = lower_subjects(
            wanted,
            self.cache,
            lowering=self.lowering,
            workers=self.settings.workers,
            on_progress=_bind(on_progress, "lower"),
        )
        failures = [Failure(f.subject.name, "load", f.message) for f in refused]
        broken = {failure.subject for failure in refused}
        jobs = [_Job(s.name, s.kernel.key, s.copies) for s in wanted if s not in broken]
        by_name = {s.name: s for s in wanted}
        return self._measure(
            jobs,
            lambda job: self.program(by_name[job.name]),
            len(dict.fromkeys(subjects)) - len(wanted),
            failures,
            on_progress,
        )

    def networks(
        self,
        networks: Mapping[str, ShapedNetwork],
        on_progress: OnProgress | None = None,
        *,
        occasion: str = "",
    ) -> ProfileSummary:
        """Measure whole networks that the table lacks, or has flagged or hasty rows of.

        Parameters
        ----------
        networks: by the label that a row gets. Whether a network is there already is decided by
            its content, `network_keys`.
        occasion: as in `netadapt.profiler.keys.network_key`.
        """
        settled = self._settled()
        jobs: dict[str, _Job] = {}
        for job in self._identify(networks, occasion).values():
            if (job.key, 1) not in settled:
                jobs.setdefault(job.key, job)
        wanted = {job.name: networks[job.name] for job in jobs.values()}
        lowered = lower_networks(
            list(wanted.values()),
            self.cache,
            lowering=self.lowering,
            workers=self.settings.workers,
            on_progress=_bind(on_progress, "lower"),
        )
        programs = dict(zip(wanted, lowered, strict=True))
        return self._measure(
            list(jobs.values()),
            lambda job: programs[job.name],
            len(networks) - len(wanted),
            [],
            on_progress,
        )

    def whole(
        self,
        name: str,
        program: bytes,
        kernels: Sequence[Kernel],
        on_progress: OnProgress | None = None,
    ) -> Row:
        """The row of a program of somebody's, measured where the table has none that settles it.

        Parameters
        ----------
        kernels: what it executes; none where nobody knows.

        Raises `MeasurementError` where it does not run.
        """
        keys = tuple(kernel.key for kernel in kernels)
        key = network_key(keys, None, hashlib.sha256(program).hexdigest())
        job = _Job(name, key, 1, keys)
        if (key, 1) not in self._settled():
            failures = self._measure([job], lambda _: program, 0, [], on_progress).failures
            for failure in failures:
                raise MeasurementError(
                    f"a model must run on the device to be timed, {name} did not "
                    f"({failure.kind}: {failure.message}); see `netadapt devices`"
                )
        row = self.table.row(key, self.provenance)
        assert row is not None  # it was there, or just measured
        return row

    def network_keys(
        self, networks: Mapping[str, ShapedNetwork], *, occasion: str = ""
    ) -> dict[str, str]:
        """By label, the keys under which the table has networks, or will have them."""
        found = self._identify(networks, occasion)
        return {label: job.key for label, job in found.items()}

    def _identify(self, networks: Mapping[str, ShapedNetwork], occasion: str) -> dict[str, _Job]:
        """By label what a network's row is of; without kernels where some layer is not known."""
        found = {}
        for label, network in networks.items():
            try:
                recorded = record_kernels(network.module, network.input_shape)
                kernels = tuple(kernel.key for kernel in recorded)
                key = network_key(kernels, network.input_shape, occasion)
            except UnknownLayerError as error:
                logger.warning(
                    "%s is timed as a whole; its kernels are not known, so no predictor learns "
                    "from it: %s",
                    label,
                    error,
                )
                kernels = ()
                program = hashlib.sha256(self.lower(network)).hexdigest()
                key = network_key(kernels, network.input_shape, f"{occasion}{program}")
            found[label] = _Job(label, key, 1, kernels, tuple(network.input_shape))
        return found

    def lower(self, network: ShapedNetwork) -> bytes:
        """The network's program, from the cache where it is."""
        (program,) = lower_networks([network], self.cache, lowering=self.lowering)
        return program

    def beside(
        self,
        networks: Mapping[str, ShapedNetwork],
        base: str,
        companions: Sequence[Subject] = (),
        on_progress: OnProgress | None = None,
        *,
        occasion: str = "",
    ) -> dict[str, Beside]:
        """Time networks in one session of the device, whatever the table holds of them.

        Each is a share of the one that `base` names; `companions` are kernels that run along;
        `occasion` is as in `netadapt.profiler.keys.network_key`. Networks that the table lacks get
        a row. Raises `MeasurementError` when one fails.
        """
        lowered = lower_networks(
            list(networks.values()),
            self.cache,
            lowering=self.lowering,
            workers=self.settings.workers,
            on_progress=_bind(on_progress, "lower"),
        )
        programs = [Program(n, data) for n, data in zip(networks, lowered, strict=True)]
        for subject in companions:
            if (data := self.program(subject)) is not None:
                programs.append(Program(subject.name, data))
        self._warm_up(programs)
        timed = time_beside(
            self.device,
            programs,
            base,
            self._spec,
            self.gate,
            sentinel_course_us=self._sentinel_course_us(),
            on_progress=_bind(on_progress, "measure"),
        )
        jobs = self._identify(networks, occasion)
        self._keep([_row(job, timed[name].timing, self.provenance) for name, job in jobs.items()])
        return timed

    def _settled(self) -> Collection[tuple[str, int]]:
        """(key, copies) of the rows that are not measured again."""
        if isinstance(self.device, Recording):  # it has no better ones
            return self.table.keys(self.provenance)
        return self.table.settled(self.provenance, self._effort)

    def _keep(self, rows: Sequence[Row]) -> None:
        """Write those of `rows` that the table lacks, or that better what it has."""
        standings = self.table.standings(self.provenance)
        kept = []
        for row in rows:
            old = standings.get((row.key, row.copies))
            if old is None or (not old.settles(self._effort) and row.standing.beats(old)):
                kept.append(row)
        self.table.add(kept)

    def _measure(
        self,
        jobs: Sequence[_Job],
        program_of: Callable[[_Job], bytes | None],
        present: int,
        failures: list[Failure],
        on_progress: OnProgress | None,
    ) -> ProfileSummary:
        report = _bind(on_progress, "measure")
        measured = self._pass(jobs, program_of, failures, report and _of(report, len(jobs)))
        again = self._doubtful(jobs, measured)
        if again and self.gate.max_attempts > 2 and not isinstance(self.device, Recording):
            done = len(measured)
            logger.info("%d of %d programs are flagged and timed once more", len(again), done)
            logger.debug("timed once more: %s", "; ".join(job.key for job in again))
            onward = report and _of(report, done + len(again), done)
            again = self._doubtful(again, self._pass(again, program_of, failures, onward))
        return ProfileSummary(present, len(measured), len(again), tuple(failures))

    def _pass(
        self,
        jobs: Sequence[_Job],
        program_of: Callable[[_Job], bytes | None],
        failures: list[Failure],
        report: Callable[[float], None] | None,
    ) -> dict[str, Quality]:
        """Measure each job, batch by batch; how steady it was, by name, of those that ran.

        report: called with how many jobs are done, in parts of a job.
        """
        measured: dict[str, Quality] = {}
        for start in range(0, len(jobs), self.settings.batch):
            batch = {job.name: job for job in jobs[start : start + self.settings.batch]}
            programs = []
            for name, job in batch.items():
                data = program_of(job)
                if data is None:
                    why = "the program cache lost it after it was lowered; run again"
                    failures.append(Failure(name, "load", why))
                else:
                    programs.append(Program(name, data))
            self._warm_up(programs)

            rows = []
            for answer in time_programs(
                self.device,
                programs,
                self._spec,
                self.gate,
                sentinel_course_us=self._sentinel_course_us(),
                on_progress=report and _within(report, start, len(programs)),
            ):
                if isinstance(answer, Failure):
                    logger.warning("%s was not measured: %s", answer.program, answer.message)
                    failures.append(answer)
                else:
                    rows.append(_row(batch[answer.program], answer, self.provenance))
                    measured[answer.program] = answer.quality
            self._keep(rows)
        return measured

    def _doubtful(self, jobs: Sequence[_Job], measured: Mapping[str, Quality]) -> list[_Job]:
        """Those that were flagged when measured, or are by what the sentinel has shown since."""
        course_us = self._sentinel_course_us()
        if course_us is not None and not isinstance(self.device, Recording):
            limit_us = course_us * (1 + self.gate.max_sentinel_dev)
            self.table.flag_drifted(self.provenance, limit_us)
        standings = self.table.standings(self.provenance)
        return [
            job
            for job in jobs
            if job.name in measured
            and (measured[job.name] != "ok" or standings[job.key, job.copies].quality != "ok")
        ]

    def _warm_up(self, programs: Sequence[Program]) -> None:
        """Run once and throw away: the first run after idling deviates most."""
        if self._warm or not programs:
            return
        short = dataclasses.replace(self._spec, rounds=2)
        for _ in self.device.run(programs[:16], short):
            pass
        self._warm = True

    def _sentinel_course_us(self) -> float | None:
        """What the sentinel takes when nothing else runs: a fast row's, though not the fastest."""
        return course_of(self.table.sentinels_us(self.provenance))


@dataclass(frozen=True, slots=True)
class _Job:
    """What a row will be of, before it is measured; `name` is a network's label."""

    name: str
    key: str
    copies: int
    kernels: tuple[str, ...] | None = None
    input_shape: Shape | None = None


def _row(job: _Job, timing: Timing, provenance: Provenance) -> Row:
    pooled = timing.pooled
    return Row(
        key=job.key,
        copies=job.copies,
        kernels=job.kernels,
        latency_us=pooled.latency_us,
        repeat_dev=timing.repeat_dev,
        spread=pooled.spread,
        quality=timing.quality,
        attempts=timing.attempts,
        rounds_us=pooled.rounds_us,
        calls_per_sample=pooled.calls_per_sample,
        program_sha256=pooled.program_sha256,
        # A sentinel that no clock can have shown is flagged as off its course, and not kept.
        conditions=dataclasses.replace(
            pooled.conditions,
            sentinel_us=tuple(us for us in pooled.conditions.sentinel_us if 0 < us < math.inf),
        ),
        provenance=provenance,
        label=None if job.kernels is None else job.name,
        input_shape=job.input_shape,
        effort=timing.effort,
    )


def _is_file(path: Path | None, other: Path | None) -> bool:
    return path is not None and other is not None and other.exists() and path.samefile(other)


def _bind(on_progress: OnProgress | None, phase: Phase) -> Callable[[int, int], None] | None:
    return None if on_progress is None else functools.partial(on_progress, phase)


def _of(report: Callable[[int, int], None], total: int, before: int = 0) -> Callable[[float], None]:
    """Progress of jobs that come after `before` others, of `total` in all."""
    return lambda done: report(before + round(done), total)


def _within(report: Callable[[float], None], before: int, size: int) -> Callable[[int, int], None]:
    """Progress of a batch of `size` jobs, in visits, as progress of all jobs."""
    return lambda done, visits: report(before + size * done / max(visits, 1))
