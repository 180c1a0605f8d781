"""A latency table as a device: what was measured once is measured again without the device.

Rows are given back as they are, samples, conditions and judgement, so that profiling through a
replay into another table gives the same rows. What was never measured is a `Failure`.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from netadapt.android_runner.device import (
    DeviceInfo,
    Failure,
    Measurement,
    Program,
    RunProgress,
    RunSpec,
)
from netadapt.android_runner.errors import DeviceError
from netadapt.android_runner.replay import ReplayDevice
from netadapt.profiler.errors import TableError
from netadapt.profiler.row import Provenance, Row
from netadapt.profiler.table import LatencyTable
from netadapt.profiler.timing import Timing

logger = logging.getLogger(__name__)

ENDING = ".sqlite"


def is_table(device: str) -> bool:
    """Whether the name of a device means a latency table: `table.sqlite`, `table.sqlite#2`."""
    return _split(device)[0].endswith(ENDING)


def open_replay(device: str) -> TableReplay:
    """The device that a latency table replays.

    Parameters
    ----------
    device: the table's path; `#N` behind it takes the rows of its N-th provenance, as
        `netadapt table show` numbers them. Without, the table has rows of one device and one way
        to make programs, with any numbers of threads.

    Raises `TableError` for a table that cannot be read, or whose rows are of several devices.
    """
    path, number = _split(device)
    with LatencyTable(Path(path), must_exist=True) as table:
        provenances = table.provenances()
        if number is not None:
            if not (number.isdecimal() and 1 <= int(number) <= len(provenances)):
                raise TableError(
                    f"a provenance has one of the numbers that `netadapt table show` prints, got "
                    f"{number!r} of {len(provenances)} in {path}; name another"
                )
            provenances = [provenances[int(number) - 1]]
        return replay_device(table, *provenances)


def replay_device(table: LatencyTable, *provenances: Provenance) -> TableReplay:
    """A device that answers with the table's rows of these provenances; of all where none is named.

    They differ in threads and cores only. Raises `TableError` otherwise, and for a table without
    rows.
    """
    wanted = list(provenances) or table.provenances()
    kinds = {(p.device, p.recipe, p.lowering) for p in wanted}
    if len(kinds) != 1:
        found = "; ".join(f"{n}: {p}" for n, p in enumerate(wanted, 1))
        raise TableError(
            f"a replay is of one device and recipe, {table.path or 'the table'} has rows of "
            f"{len(kinds)} ({found or 'no rows'}); name one, as in {table.path}#1"
        )
    rows = {provenance: table.rows(provenance) for provenance in wanted}
    bare = sum(not row.rounds_us for some in rows.values() for row in some)
    if bare:
        logger.warning("%d row(s) of %s have no samples and are not replayed", bare, table.path)
    return TableReplay(rows, table.path)


class TableReplay:
    """A `ReplayDevice` for each provenance of one device, chosen by threads and cores.

    Also a `netadapt.profiler.timing.Recording`: what was judged once is not judged again.

    Parameters
    ----------
    rows: with their samples, by provenance; these differ in threads and cores only.
    source: the table's file.
    """

    def __init__(
        self, rows: Mapping[Provenance, Sequence[Row]], source: Path | None = None
    ) -> None:
        self.source = source
        self._timings: dict[Provenance, dict[str, Timing]] = {}
        for provenance, some in rows.items():
            timings = self._timings.setdefault(provenance, {})
            for row in some:
                if row.rounds_us:  # of a program measured on several occasions the first counts
                    timings.setdefault(row.program_sha256, _timing(row))
        self._devices = {
            provenance: ReplayDevice({sha: t.pooled for sha, t in some.items()}, provenance.device)
            for provenance, some in self._timings.items()
        }

    def info(self) -> DeviceInfo:
        """The recorded device, marked as a replay."""
        return next(iter(self._devices.values())).info()

    def cpus(self, spec: RunSpec) -> tuple[int, ...]:
        """See `Device.cpus`. Raises `DeviceError` where nothing was recorded on such cores."""
        return _cores(self._provenance(spec))

    def run(
        self,
        programs: Sequence[Program],
        spec: RunSpec,
        on_progress: Callable[[RunProgress], None] | None = None,
    ) -> Iterator[Measurement | Failure]:
        """See `Device.run`: both runs of each program as one, samples as recorded."""
        return self._devices[self._provenance(spec)].run(programs, spec, on_progress)

    def timing(self, program: Program, spec: RunSpec) -> Timing | Failure:
        """See `netadapt.profiler.timing.Recording`."""
        (answer,) = self.run([program], spec)
        if isinstance(answer, Failure):
            return answer
        timing = self._timings[self._provenance(spec)][program.sha256]
        return dataclasses.replace(timing, pooled=answer)

    def _provenance(self, spec: RunSpec) -> Provenance:
        fitting = [
            provenance
            for provenance in self._timings
            if provenance.threads == spec.threads and spec.cpus in (None, _cores(provenance))
        ]
        if not fitting:
            known = "; ".join(f"{p.threads} on cpus {p.cpus}" for p in self._timings)
            cores = "any cores" if spec.cpus is None else f"cpus {spec.cpus}"
            raise DeviceError(
                f"a replay has the threads and cores that were recorded ({known}), got "
                f"{spec.threads} on {cores}; ask for those"
            )
        return fitting[0]


def _timing(row: Row) -> Timing:
    pooled = Measurement(
        program=row.name,
        program_sha256=row.program_sha256,
        rounds_us=row.rounds_us,
        calls_per_sample=row.calls_per_sample,
        conditions=row.conditions,
    )
    return Timing(pooled, row.repeat_dev, row.quality, row.attempts, row.effort)


def _cores(provenance: Provenance) -> tuple[int, ...]:
    return tuple(int(cpu) for cpu in provenance.cpus.split(",") if cpu.isdecimal())


def _split(device: str) -> tuple[str, str | None]:
    path, mark, number = device.rpartition("#")
    return (path, number) if mark and path.endswith(ENDING) else (device, None)
