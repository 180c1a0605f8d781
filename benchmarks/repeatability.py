"""How well a timing repeats: kernels timed twice in runner processes of their own.

Runs without the quality gate: what is compared are two plain runs, each in an order of its own,
after a whole warm-up run that is thrown away.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence

import numpy as np

from benchmarks.common import parser, print_result, say
from netadapt.android_runner.device import Measurement, Program, RunSpec
from netadapt.android_runner.runner.host import HostDevice
from netadapt.profiler.kernels import (
    ActivationKernel,
    AddKernel,
    DepthwiseConvKernel,
    Kernel,
    PointwiseConvKernel,
)
from netadapt.profiler.lowering import ProgramCache, Subject, find_lowering, lower_subjects
from netadapt.profiler.profile import SENTINEL

CHAINS = (1, 2, 3, 5)


def main() -> None:
    """Time, compare, print the figures."""
    arguments = parser(__doc__).parse_args()
    kernels = _kernels()[:: 24 if arguments.quick else 1]
    chained = [k for k in kernels if k.keeps_shape and k.carries_layout_cost]
    subjects = [Subject(k) for k in kernels]
    subjects += [Subject(k, n) for k in chained for n in CHAINS[1:]]
    tiny = AddKernel(1, 1, 1)
    spec = RunSpec(rounds=4) if arguments.quick else RunSpec()

    cache = ProgramCache()
    say(f"lowering {len(subjects)} programs")
    if failures := lower_subjects([*subjects, Subject(tiny), SENTINEL], cache):
        raise SystemExit(f"not lowered: {failures[0].message}")
    programs = [_program(s, cache) for s in (*subjects, Subject(tiny))]
    spec = dataclasses.replace(spec, sentinel=_program(SENTINEL, cache))

    say("timing: a warm-up run that does not count, then A and A'")
    _time(programs, dataclasses.replace(spec, rounds=max(spec.rounds // 2, 1)))
    first = _time(programs, spec)
    second = _time(programs, dataclasses.replace(spec, seed=1))

    names = [Subject(k).name for k in kernels]
    deviations = np.array([abs(first[n] / second[n] - 1) * 100 for n in names])
    print_result(
        {
            "benchmark": "repeatability",
            "kernels": len(names),
            "median_dev_pct": round(float(np.median(deviations)), 3),
            "p95_dev_pct": round(float(np.percentile(deviations, 95)), 3),
            "max_dev_pct": round(float(deviations.max()), 3),
            "call_us": round(first[Subject(tiny).name], 3),
            "layout_ns_per_element": _layout_ns_per_element(chained, first),
            "rounds": spec.rounds,
            "visit_ms": spec.visit_ms,
        }
    )


def _kernels() -> list[Kernel]:
    """Kernels of the kinds and sizes that networks at 224 are made of, 3 to 3,000 us."""
    sizes = ((8, 56), (16, 28), (24, 28), (40, 14), (64, 14), (80, 14), (112, 14), (160, 7))
    kernels: list[Kernel] = []
    for channels, size in sizes:
        kernels += [
            PointwiseConvKernel(channels, channels * f, size, size, "relu") for f in (1, 2, 4)
        ]
        kernels += [
            PointwiseConvKernel(channels * 4, channels, size, size),
            AddKernel(channels, size, size),
        ]
        kernels += [
            DepthwiseConvKernel(channels * f, k, s, size, size, "relu")
            for f, k, s in (
                (1, 3, 1),
                (4, 3, 1),
                (2, 5, 1),
                (4, 5, 1),
                (1, 7, 1),
                (2, 3, 2),
                (2, 5, 2),
            )
        ]
        kernels += [
            ActivationKernel("hardswish", channels, size, size),
            ActivationKernel("hardswish", channels * 4, size, size),
        ]
    return list(dict.fromkeys(kernels))


def _program(subject: Subject, cache: ProgramCache) -> Program:
    data = cache.get(subject.cache_key(find_lowering()))
    assert data is not None, f"{subject.name} was lowered before"
    return Program(subject.name, data)


def _time(programs: Sequence[Program], spec: RunSpec) -> dict[str, float]:
    answers = list(HostDevice().run(programs, spec))
    latencies = {a.program: a.latency_us for a in answers if isinstance(a, Measurement)}
    if lost := [a for a in answers if not isinstance(a, Measurement)]:
        raise SystemExit(f"{len(lost)} programs failed, the first: {lost[0]}")
    return latencies


def _layout_ns_per_element(chained: Sequence[Kernel], latency_us: dict[str, float]) -> float | None:
    """What a program's two layout changes cost: the intercept over chain length, an element."""
    costs = []
    for kernel in chained:
        times = [latency_us[Subject(kernel, n).name] for n in CHAINS]
        _slope, intercept = np.polyfit(CHAINS, times, 1)
        costs.append(1000 * intercept / (kernel.input_elements + kernel.output_elements))
    return round(statistics.median(costs), 4) if costs else None


if __name__ == "__main__":
    main()
