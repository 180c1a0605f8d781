"""What the way over adb costs: the same kernels on this machine directly and through a phone.

The phone is a virtual one on this machine, reached over the real adb server, and starts with
nothing on it. Both sides run the same runner on the same core, and both start it anew for every
run, which loads this machine's libraries: a phone's starts in milliseconds, and this machine's own
runs are forked from one that has loaded them. Lowering is left out. Batches take turns, so that
what else the machine does hits both alike.
"""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.common import own_adb_server, parser, print_result, say
from netadapt.android_runner.device import Device, Measurement, Program, RunSpec
from netadapt.android_runner.phone import PhoneDevice
from netadapt.android_runner.runner.host import HostDevice
from netadapt.profiler.kernels import AddKernel, DepthwiseConvKernel, Kernel, PointwiseConvKernel
from netadapt.profiler.lowering import ProgramCache, Subject, find_lowering, lower_subjects
from netadapt.profiler.profile import SENTINEL
from netadapt.virtual_phone import PIXEL_1, VirtualPhone

BATCH = 30


def main() -> None:
    """Time each batch on both, compare, print the figures."""
    arguments = parser(__doc__).parse_args()
    kernels = _kernels()[: 12 if arguments.quick else 300]
    batch = 6 if arguments.quick else BATCH
    subjects = [Subject(kernel) for kernel in kernels]
    cache = ProgramCache()
    say(f"lowering {len(subjects)} programs")
    if failures := lower_subjects([*subjects, SENTINEL], cache):
        raise SystemExit(f"not lowered: {failures[0].message}")
    batches = [
        [_program(subject, cache) for subject in subjects[start : start + batch]]
        for start in range(0, len(subjects), batch)
    ]
    # Neither names a core: the host's default is its last, and the virtual phone's last is the same
    spec = RunSpec(rounds=2 if arguments.quick else 12, sentinel=_program(SENTINEL, cache))
    with _phone() as phone:
        say("a warm-up run that does not count, then both in turns")
        host = HostDevice(launcher=["/usr/bin/env"])
        _seconds(host, batches[0], dataclasses.replace(spec, rounds=1))
        host_s = phone_s = 0.0
        host_us: dict[str, float] = {}
        phone_us: dict[str, float] = {}
        started = time.perf_counter()
        phone.info()  # connecting and the runner's own push are part of it
        phone_s += time.perf_counter() - started
        for number, programs in enumerate(batches):
            for side in ("host", "phone") if number % 2 else ("phone", "host"):
                if side == "host":
                    seconds, found = _seconds(host, programs, spec)
                    host_s, host_us = host_s + seconds, host_us | found
                else:
                    seconds, found = _seconds(phone, programs, spec)
                    phone_s, phone_us = phone_s + seconds, phone_us | found
    deviations = [abs(phone_us[name] / us - 1) * 100 for name, us in host_us.items()]
    print_result(
        {
            "benchmark": "phone_overhead",
            "kernels": len(deviations),
            "batches": len(batches),
            "wall_ratio": round(phone_s / host_s, 3),
            "mean_abs_dev_pct": round(statistics.mean(deviations), 3),
            "median_abs_dev_pct": round(statistics.median(deviations), 3),
            "host_s": round(host_s, 1),
            "phone_s": round(phone_s, 1),
            "rounds": spec.rounds,
        }
    )


@contextlib.contextmanager
def _phone() -> Iterator[PhoneDevice]:
    """A virtual phone with an empty storage, behind an adb server of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="netadapt-overhead-") as folder,
        own_adb_server() as server,  # starting it is no part of profiling
        VirtualPhone(PIXEL_1, Path(folder) / "phone") as phone,
        PhoneDevice(phone.address, server=server) as device,
    ):
        yield device


def _kernels() -> list[Kernel]:
    """Kernels of the sizes that mobile networks are made of, small and large in turns."""
    shapes = [
        (channels, size)
        for size in (7, 14, 28, 56)
        for channels in (8, 16, 24, 32, 40, 48, 64, 80, 96, 112, 128)
        if channels * size * size <= 205_000
    ]
    kernels: list[Kernel] = []
    for channels, size in shapes:
        kernels += [
            PointwiseConvKernel(channels, channels * 2, size, size, "relu"),
            PointwiseConvKernel(channels, channels // 2, size, size),
            PointwiseConvKernel(channels, channels, size, size),
            AddKernel(channels, size, size),
            DepthwiseConvKernel(channels, 3, 1, size, size, "relu"),
            DepthwiseConvKernel(channels, 5, 1, size, size, "relu"),
            DepthwiseConvKernel(channels, 3, 2, size, size, "relu"),
            DepthwiseConvKernel(channels, 5, 2, size, size, "relu"),
        ]
    return list(dict.fromkeys(kernels))


def _program(subject: Subject, cache: ProgramCache) -> Program:
    data = cache.get(subject.cache_key(find_lowering()))
    assert data is not None, f"{subject.name} was lowered before"
    return Program(subject.name, data)


def _seconds(
    device: Device, programs: Sequence[Program], spec: RunSpec
) -> tuple[float, dict[str, float]]:
    """Wall time of a batch, and of each of its programs the median of its rounds' latencies."""
    started = time.perf_counter()
    answers = list(device.run(programs, spec))
    seconds = time.perf_counter() - started
    if lost := [a for a in answers if not isinstance(a, Measurement)]:
        raise SystemExit(f"{len(lost)} programs failed, the first: {lost[0]}")
    return seconds, {
        a.program: statistics.median(a.round_latencies_us)
        for a in answers
        if isinstance(a, Measurement)
    }


if __name__ == "__main__":
    main()
