"""A table of 1,000 kernels from nothing: how long it takes, and how much of that the runner ran.

    python -m benchmarks.table_speed [--quick]

Kernels of the 224 space, sampled as `netadapt profile` does it, are lowered with nothing cached
and timed on this machine into a new table, in native layout. `seconds` begins before the first is
written and ends with the last row; `runner_seconds` is the part spent waiting for the runner, which
measures. `else_seconds` is all the rest: sampling, writing and comparing programs, the table.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.common import QUICK_PROFILE, QUICK_SPACE, parser, print_result, say
from netadapt.android_runner.device import (
    Device,
    DeviceInfo,
    Failure,
    Measurement,
    Program,
    RunProgress,
    RunSpec,
)
from netadapt.android_runner.runner.host import HostDevice
from netadapt.profiler.lowering import NATIVE_RECIPE, ProgramCache
from netadapt.profiler.profile import Profiler
from netadapt.profiler.settings import ProfileSettings
from netadapt.profiler.table import LatencyTable
from netadapt.runs.profile_plan import sample_space
from netadapt.search import Space


class Clocked(Device):
    """A device that adds up how long others wait for it."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.seconds = 0.0

    def info(self) -> DeviceInfo:
        return self._device.info()

    def cpus(self, spec: RunSpec) -> tuple[int, ...]:
        return self._device.cpus(spec)

    def run(
        self,
        programs: Sequence[Program],
        spec: RunSpec,
        on_progress: Callable[[RunProgress], None] | None = None,
    ) -> Iterator[Measurement | Failure]:
        answers = self._device.run(programs, spec, on_progress)
        while True:
            begin = time.perf_counter()
            try:
                answer = next(answers)
            except StopIteration:
                return
            finally:
                self.seconds += time.perf_counter() - begin
            yield answer


def main() -> None:
    """Make the table, print the figures."""
    quick = parser(__doc__).parse_args().quick
    count = 30 if quick else 1000
    space = Space.load(QUICK_SPACE if quick else "mobilenet_v3_large")
    device = Clocked(HostDevice())
    device.info()  # builds the runner where there is none
    with tempfile.TemporaryDirectory(prefix="netadapt-table-speed-") as name:
        begin = time.perf_counter()
        _, subjects = sample_space(space, count, 0, np.random.default_rng(0))
        say(f"a table of {len(subjects)} kernels")
        with LatencyTable(Path(name) / "rows.sqlite") as table:
            settings = ProfileSettings(recipe=NATIVE_RECIPE, **(QUICK_PROFILE if quick else {}))
            profiler = Profiler(device, table, ProgramCache(Path(name) / "programs"), settings)
            summary = profiler.kernels(subjects)
            seconds = time.perf_counter() - begin
            rows = len(table)
    print_result(
        {
            "benchmark": "table_speed",
            "kernels": rows,
            "failures": len(summary.failures),
            "flagged": summary.flagged,
            "seconds": round(seconds, 1),
            "runner_seconds": round(device.seconds, 1),
            "else_seconds": round(seconds - device.seconds, 1),
        }
    )


if __name__ == "__main__":
    main()
