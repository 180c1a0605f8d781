"""Large latency tables: what looking into one, exporting it and fitting to it take.

A made-up table of many kernel rows with raw samples, as many as a space of several networks on
several devices comes to, and one with many rows of one type. Each command runs in a process of its
own, whose wall time and peak memory are taken. The tables are kept in the cache and added to
where making them was interrupted.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.common import parser, print_result, say, work_folder
from netadapt.android_runner.device import Conditions, DeviceInfo
from netadapt.profiler.kernels import (
    DepthwiseConvKernel,
    Kernel,
    LinearKernel,
    PointwiseConvKernel,
    StandardConvKernel,
)
from netadapt.profiler.lowering import Recipe
from netadapt.profiler.table import Effort, LatencyTable, Provenance, Row

BATCH = 2000
SHOWN = 20
ROUNDS, SAMPLES = 24, 20
"""Of a row, as the default settings take them."""

PROVENANCE = Provenance(
    device=DeviceInfo(
        id="made-up",
        kind="plug-in",
        model="Made-up 1",
        soc="none",
        os="none",
        abi="none",
        cores=1,
        runtime_version="0",
        runner_sha256="0" * 64,
        build_options="none",
    ),
    recipe=Recipe("made_up", "fp32", 1),
    lowering="none",
    threads=1,
    cpus="0",
)


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one command: wall time, and the most memory that its process held."""

    seconds: float
    mb: float


def main() -> None:
    """Make the tables, run the commands, print the figures."""
    quick = parser(__doc__).parse_args().quick
    rows, typed = (2000, 300) if quick else (100_000, 8000)
    folder = work_folder("table_scale")
    large, one_type = folder / f"rows-{rows}.sqlite", folder / f"one-type-{typed}.sqlite"
    fill(large, mixed(), rows)
    fill(one_type, pointwise(), typed)
    out = folder / "out"
    show = run("table", "show", large, "--limit", str(SHOWN))
    csv = run("table", "export", large, out.with_suffix(".csv"), "--samples")
    parquet = run("table", "export", large, out.with_suffix(".parquet"), "--samples")
    fit = run("fit", one_type, "--out", out.with_suffix(".predictor"))
    table_mb = large.stat().st_size / 1e6
    for path in folder.glob("out.*"):
        path.unlink()
    print_result(
        {
            "benchmark": "table_scale",
            "rows": rows,
            "table_mb": round(table_mb, 1),
            "show_s": round(show.seconds, 2),
            "show_mb": round(show.mb, 1),
            "export_s": round(max(csv.seconds, parquet.seconds), 2),
            "export_mb": round(max(csv.mb, parquet.mb), 1),
            "fit_rows": typed,
            "fit_s": round(fit.seconds, 2),
            "fit_mb": round(fit.mb, 1),
        }
    )


# A process of its own between us and the command: a new process counts as its own peak what its
# parent held when it was started, and we hold torch.
_LAUNCH = """
import resource, subprocess, sys, time
started = time.perf_counter()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def run(*arguments: str | Path) -> Cost:
    """Run a command of netadapt to its end, its output thrown away."""
    words = [*map(str, arguments)]
    say(" ".join(["netadapt", *words]))
    command = [sys.executable, "-S", "-c", _LAUNCH, sys.executable, "-m", "netadapt", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"exit code {done.returncode}: netadapt {' '.join(words)}")
    seconds, peak = done.stdout.split()
    # Kilobytes on Linux, bytes on macOS
    return Cost(float(seconds), int(peak) * (1 if sys.platform == "darwin" else 1024) / 1e6)


def fill(path: Path, kernels: Iterator[Kernel], count: int) -> None:
    """See that the table at `path` has rows of the first `count` of the kernels."""
    with LatencyTable(path) as table:
        present = len(table)
        if present < count:
            say(f"making {path}: {count - present} rows")
        for start in range(0, count, BATCH):
            batch = list(itertools.islice(kernels, min(BATCH, count - start)))
            if start + len(batch) > present:  # a batch is written whole or not at all
                rng = np.random.default_rng(start)
                table.add([row(kernel, rng) for kernel in batch])


def mixed() -> Iterator[Kernel]:
    """Different kernels of four types in turn, without end."""
    sizes = (7, 14, 28, 56)
    n = 0
    while True:
        n += 1
        size = sizes[n % len(sizes)]
        yield PointwiseConvKernel(n % 997 + 1, n + 7, size, size, "relu")
        yield DepthwiseConvKernel(n + 7, 3 + 2 * (n % 3), 1 + n % 2, size, size, "relu")
        yield StandardConvKernel(n % 499 + 1, n + 7, 3, 1, size, size)
        yield LinearKernel(n, n % 1013 + 1)


def pointwise() -> Iterator[Kernel]:
    """Different 1x1 convolutions of sizes that networks have, without end."""
    rng = np.random.default_rng(0)
    seen: set[Kernel] = set()
    while True:
        narrow, wide = (8 * int(2 ** rng.uniform(0, 7)) for _ in range(2))
        size = int(rng.integers(1, 113))
        kernel = PointwiseConvKernel(narrow, wide, size, size, "relu")
        if kernel not in seen:
            seen.add(kernel)
            yield kernel


def row(kernel: Kernel, rng: np.random.Generator) -> Row:
    """A row as a device of 10 GMAC/s and 10 GB/s would give it, give or take a percent."""
    us = 0.2 + kernel.macs / 1e4 + 4 * (kernel.input_elements + kernel.output_elements) / 1e4
    samples = us * np.exp(np.abs(rng.normal(0, 0.01, (ROUNDS, SAMPLES))))
    return Row(
        key=kernel.key,
        copies=1,
        kernels=None,
        latency_us=float(np.quantile(samples.min(axis=1), 0.25)),
        repeat_dev=float(rng.normal(0, 0.01)),
        spread=0.01,
        quality="ok",
        attempts=2,
        rounds_us=tuple(tuple(map(float, one)) for one in samples),
        calls_per_sample=8,
        program_sha256="0" * 64,
        conditions=CONDITIONS,
        provenance=PROVENANCE,
        effort=Effort(ROUNDS, visit_ms=3.0, warmup_ms=5.0),
    )


CONDITIONS = Conditions(
    cpus=(0,),
    threads=1,
    freq_khz_before=2_000_000,
    freq_khz_after=2_000_000,
    temperature_c_before=40.0,
    temperature_c_after=41.5,
    load_avg_before=0.5,
    load_avg_after=0.6,
    sentinel_us=(80.0,) * ROUNDS,
    started_at="2026-01-01T00:00:00+00:00",
    performance="default",
    limits_khz_before=(2_000_000,),
    limits_khz_after=(2_000_000,),
    round_freqs_khz=(2_000_000,) * ROUNDS,
)


if __name__ == "__main__":
    main()
