"""Kernels and networks to rows of a latency table: lower, time, judge, write, batch by batch."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import nn

from netadapt.android_runner.device import Device, Failure, Program, RunSpec
from netadapt.profiler.beside import Beside, time_beside
from netadapt.profiler.errors import LoweringError, UnknownLayerError
from netadapt.profiler.kernels import PointwiseConv, Shape, record_kernels
from netadapt.profiler.keys import network_key
from netadapt.profiler.lowering import (
    PRECISION,
    ProgramCache,
    Subject,
    lower_cached,
    lower_networks,
    lower_subjects,
)
from netadapt.profiler.table import LatencyTable, Provenance, Row
from netadapt.profiler.timing import Gate, Timing, time_programs

logger = logging.getLogger(__name__)

SENTINEL = Subject(PointwiseConv(64, 64, 28, 28, "relu"))
"""The kernel that is re-timed all through every run; the same for all tables."""

Phase = Literal["lower", "measure"]
OnProgress = Callable[[Phase, int, int], None]


@dataclass(frozen=True, slots=True)
class ProfileSettings:
    """How kernels are timed.

    Parameters
    ----------
    spec: threads, cores, rounds and times of a visit (`android_runner.RunSpec`).
    batch: programs in one runner process and one transaction.
    workers: lowering processes at a time; None takes one for each core.
    """

    spec: RunSpec = field(default_factory=RunSpec)
    gate: Gate = field(default_factory=Gate)
    batch: int = 48
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"a batch has at least 1 program, got {self.batch}; try 48")


@dataclass(frozen=True, slots=True)
class ProfileSummary:
    """What a call of `profile` did: rows that were there, rows written, programs that failed."""

    present: int
    measured: int
    flagged: int
    failures: tuple[Failure, ...]


def provenance_of(device: Device, spec: RunSpec) -> Provenance:
    """What rows taken on `device` under `spec` share."""
    info = device.info()
    return Provenance(
        device_id=info.id,
        device_kind=info.kind,
        model=info.model,
        soc=info.soc,
        os=info.os,
        abi=info.abi,
        fingerprint=info.fingerprint,
        runtime_version=info.runtime_version,
        runner_sha256=info.runner_sha256,
        build_options=info.build_options,
        precision=PRECISION,
        threads=spec.threads,
        cpus=",".join(map(str, device.cpus(spec))),
    )


class Profiler:
    """Times kernels and networks on one device under one set of conditions, into one table.

    The programs of a batch are timed twice in processes of their own (`netadapt.profiler.timing`);
    a batch is written in one transaction, so that a kill loses the batch in flight and no more.
    """

    def __init__(
        self,
        device: Device,
        table: LatencyTable,
        cache: ProgramCache | None = None,
        settings: ProfileSettings | None = None,
    ) -> None:
        self.device = device
        self.table = table
        self.cache = cache or ProgramCache()
        self.settings = settings or ProfileSettings()
        lower_subjects([SENTINEL], self.cache, workers=1)
        sentinel = self.cache.get(SENTINEL.cache_key)
        if sentinel is None:
            raise LoweringError(
                f"the sentinel must be lowered, {SENTINEL.name} could not be; reinstall executorch"
            )
        self._spec = dataclasses.replace(self.settings.spec, sentinel=Program("sentinel", sentinel))
        self._warm = False
        self.provenance = provenance_of(device, self._spec)

    def kernels(
        self, subjects: Sequence[Subject], on_progress: OnProgress | None = None
    ) -> ProfileSummary:
        """Measure the subjects that the table does not hold yet under this provenance."""
        present = self.table.keys(self.provenance)
        wanted = [s for s in dict.fromkeys(subjects) if (s.kernel.key, s.copies) not in present]
        refused = lower_subjects(
            wanted,
            self.cache,
            workers=self.settings.workers,
            on_progress=_bind(on_progress, "lower"),
        )
        failures = [Failure(f.subject.name, "load", f.message) for f in refused]
        broken = {failure.subject for failure in refused}
        jobs = [_Job(s.name, s.kernel.key, s.copies) for s in wanted if s not in broken]
        keys = {s.name: s.cache_key for s in wanted}
        return self._measure(
            jobs,
            lambda job: self.cache.get(keys[job.name]),
            len(dict.fromkeys(subjects)) - len(wanted),
            failures,
            on_progress,
        )

    def networks(
        self,
        networks: Mapping[str, nn.Module],
        input_shape: Shape,
        on_progress: OnProgress | None = None,
        *,
        occasion: str = "",
    ) -> ProfileSummary:
        """Measure whole networks that the table does not hold yet.

        Parameters
        ----------
        networks: by the label that a row gets. What tells whether a network is there already is
            its content, `network_keys`.
        occasion: as in `netadapt.profiler.keys.network_key`.
        """
        present = self.table.keys(self.provenance)
        jobs: dict[str, _Job] = {}
        for subject in self._identify(networks, input_shape, occasion).values():
            if (subject.key, 1) not in present:
                jobs.setdefault(subject.key, subject)
        wanted = {job.name: networks[job.name] for job in jobs.values()}
        lowered = lower_networks(
            list(wanted.values()),
            input_shape,
            self.cache,
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

    def network_keys(
        self, networks: Mapping[str, nn.Module], input_shape: Shape, *, occasion: str = ""
    ) -> dict[str, str]:
        """By label, the keys under which the table has networks, or will have them."""
        found = self._identify(networks, input_shape, occasion)
        return {label: job.key for label, job in found.items()}

    def _identify(
        self, networks: Mapping[str, nn.Module], input_shape: Shape, occasion: str
    ) -> dict[str, _Job]:
        """By label what a network's row is of; without kernels where some layer is not known."""
        found = {}
        for label, network in networks.items():
            try:
                kernels = tuple(k.key for k in record_kernels(network, input_shape))
                key = network_key(kernels, input_shape, occasion)
            except UnknownLayerError as error:
                logger.warning(
                    "%s is timed as a whole; its kernels are not known, so no predictor learns "
                    "from it: %s",
                    label,
                    error,
                )
                kernels = ()
                program = hashlib.sha256(self.lower(network, input_shape)).hexdigest()
                key = network_key(kernels, input_shape, f"{occasion}{program}")
            found[label] = _Job(label, key, 1, kernels, tuple(input_shape))
        return found

    def lower(self, network: nn.Module, input_shape: Shape) -> bytes:
        """The program of a network for inputs of `input_shape`, from the cache where it is."""
        return lower_cached(network, (torch.zeros(input_shape),), self.cache)

    def beside(
        self,
        networks: Mapping[str, nn.Module],
        base: str,
        input_shape: Shape,
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
            input_shape,
            self.cache,
            workers=self.settings.workers,
            on_progress=_bind(on_progress, "lower"),
        )
        programs = [Program(n, data) for n, data in zip(networks, lowered, strict=True)]
        for subject in companions:
            if (data := self.cache.get(subject.cache_key)) is not None:
                programs.append(Program(subject.name, data))
        self._warm_up(programs)
        timed = time_beside(
            self.device,
            programs,
            base,
            self._spec,
            self.settings.gate,
            sentinel_course_us=self._sentinel_course_us(),
            on_progress=_bind(on_progress, "measure"),
        )
        present = self.table.keys(self.provenance)
        jobs = self._identify(networks, input_shape, occasion)
        self.table.add(
            [
                _row(job, timed[name].timing, self.provenance)
                for name, job in jobs.items()
                if (job.key, 1) not in present
            ]
        )
        return timed

    def _measure(
        self,
        jobs: Sequence[_Job],
        program_of: Callable[[_Job], bytes | None],
        present: int,
        failures: list[Failure],
        on_progress: OnProgress | None,
    ) -> ProfileSummary:
        report = _bind(on_progress, "measure")
        measured = flagged = 0
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
                self.settings.gate,
                sentinel_course_us=self._sentinel_course_us(),
                on_progress=report and _within(report, start, len(programs), len(jobs)),
            ):
                if isinstance(answer, Failure):
                    logger.warning("%s was not measured: %s", answer.program, answer.message)
                    failures.append(answer)
                else:
                    rows.append(_row(batch[answer.program], answer, self.provenance))
            self.table.add(rows)
            measured += len(rows)
            flagged += sum(row.quality != "ok" for row in rows)
        return ProfileSummary(present, measured, flagged, tuple(failures))

    def _warm_up(self, programs: Sequence[Program]) -> None:
        """Run once and throw away: the first run after idling deviates most."""
        if self._warm or not programs:
            return
        short = dataclasses.replace(self._spec, rounds=2)
        for _ in self.device.run(programs[:16], short):
            pass
        self._warm = True

    def _sentinel_course_us(self) -> float | None:
        sentinels = self.table.sentinels_us(self.provenance)
        return statistics.median(sentinels) if sentinels else None


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
        # A sentinel that no clock can have told is flagged as off its course, and not kept.
        conditions=dataclasses.replace(
            pooled.conditions,
            sentinel_us=tuple(us for us in pooled.conditions.sentinel_us if 0 < us < math.inf),
        ),
        provenance=provenance,
        label=None if job.kernels is None else job.name,
        input_shape=job.input_shape,
    )


def _bind(on_progress: OnProgress | None, phase: Phase) -> Callable[[int, int], None] | None:
    return None if on_progress is None else functools.partial(on_progress, phase)


def _within(
    report: Callable[[int, int], None], before: int, size: int, total: int
) -> Callable[[int, int], None]:
    """Progress of a batch of `size` jobs, in visits, as progress of all jobs."""

    def progress(done: int, visits: int) -> None:
        report(before + round(size * done / max(visits, 1)), total)

    return progress
