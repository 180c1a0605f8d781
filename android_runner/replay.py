"""Plays recorded measurements back, so that everything above a device runs without one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

from netadapt.android_runner.device import (
    DeviceInfo,
    Failure,
    Measurement,
    Program,
    RunProgress,
    RunSpec,
    check_names,
)


class ReplayDevice:
    """Answers from ``recorded`` (by `Program.sha256`) as the device that ``info`` describes did.

    Samples are given back as recorded, whatever the spec asks for.
    """

    def __init__(self, recorded: Mapping[str, Measurement], info: DeviceInfo) -> None:
        self._recorded = dict(recorded)
        self._info = info

    def info(self) -> DeviceInfo:
        """The recorded device, marked as a replay."""
        return dataclasses.replace(self._info, kind="replay")

    def cpus(self, spec: RunSpec) -> tuple[int, ...]:
        """See `Device.cpus`: the cores that the recorded runs were pinned to."""
        if spec.cpus is not None or not self._recorded:
            return spec.cpus or ()
        return next(iter(self._recorded.values())).conditions.cpus

    def run(
        self,
        programs: Sequence[Program],
        spec: RunSpec,
        on_progress: Callable[[RunProgress], None] | None = None,
    ) -> Iterator[Measurement | Failure]:
        """See `Device.run`. A program that was never recorded is a `Failure` of kind ``load``."""
        check_names(programs)
        return self._play(list(programs), on_progress)

    def _play(
        self, programs: list[Program], on_progress: Callable[[RunProgress], None] | None
    ) -> Iterator[Measurement | Failure]:
        for index, program in enumerate(programs):
            if on_progress is not None:
                on_progress(RunProgress(index, len(programs), program.name))
            measurement = self._recorded.get(program.sha256)
            if measurement is None:
                yield Failure(
                    program.name,
                    "load",
                    f"a replayed program must have been recorded, {program.name!r} "
                    f"({program.sha256[:12]}) was not; measure it on the real device",
                )
            else:
                yield dataclasses.replace(measurement, program=program.name)
