"""How a predictor's error falls with the rows that it learns from, and which rows are worth most.

    python -m benchmarks.sample_efficiency [--quick] [--table FILE]

A table of kernels of the 224 space is made on this machine, in native layout (or another one is
read); 200 of its kernels are held out by groups of near-duplicates, and predictors are fitted to
50 ... 800 of the others: drawn at random, as `netadapt profile` samples them (corners first, then
evenly spread), or chosen by what a predictor of 50 doubts most, 25 at a time. The corners of all
types are more than 50: there a sample has more rows. Errors are mean
absolute ones of the time inside a network, in %. A kernel of a type that no row is of counts as
100 % off. The table stays, so that a run that was stopped goes on.

`ours` is what predictors have, a roofline with a Gaussian process of fixed scales on it; `boosting`
is scikit-learn's histogram gradient boosting on the same features.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

from benchmarks.common import QUICK_PROFILE, QUICK_SPACE, parser, print_result, say, work_folder
from netadapt.android_runner.runner.host import HostDevice
from netadapt.predictor.choosing import most_doubtful
from netadapt.predictor.features import group
from netadapt.predictor.predictor import LatencyPredictor
from netadapt.predictor.regression import KernelTimeRegressor
from netadapt.profiler.kernels import Kernel
from netadapt.profiler.lowering import NATIVE_RECIPE
from netadapt.profiler.profile import Profiler
from netadapt.profiler.sampling import sample_kernels
from netadapt.profiler.settings import ProfileSettings
from netadapt.profiler.table import LatencyTable, Row
from netadapt.runs.profile_plan import sample_space
from netadapt.search import Space

COUNTS = (50, 100, 200, 400, 800)
HELD_OUT = 200
AT_A_TIME = 25
REGRESSORS: dict[str, Callable[[], Any]] = {
    "ours": KernelTimeRegressor,
    "boosting": lambda: HistGradientBoostingRegressor(min_samples_leaf=5, random_state=0),
}

Rows = dict[Kernel, Row]


def main() -> None:
    """Make or read the table, fit, print the figures."""
    arguments = parser(__doc__)
    arguments.add_argument("--table", type=Path, help="a latency table of somebody's")
    options = arguments.parse_args()
    counts: tuple[int, ...] = (20, 40) if options.quick else COUNTS
    rows = _read(options.table) if options.table else _made(quick=options.quick)
    kernels = sorted(rows, key=lambda kernel: zlib.crc32(group(kernel).encode()))
    held_count = 15 if options.quick else min(HELD_OUT, len(rows) // 4)
    held, pool = kernels[:held_count], kernels[held_count:]
    rng = np.random.default_rng(0)
    pool = [pool[i] for i in rng.permutation(len(pool))]
    counts = tuple(count for count in counts if count <= len(pool))
    say(f"{len(held)} kernels held out of {len(rows)}")
    corners = {n: sample_kernels(pool, n, np.random.default_rng(0)) for n in counts}
    chosen = _chosen(rows, corners[counts[0]], pool, counts[-1])
    samples = {
        "random": {n: pool[:n] for n in counts},
        "corners": corners,
        "chosen": {n: chosen[: max(n, len(corners[counts[0]]))] for n in counts},
    }
    curves: dict[str, dict[str, dict[int, float]]] = {}
    for name, sample in samples.items():
        curves[name] = {
            regressor: {n: _error_pct(rows, sample[n], held, make) for n in counts}
            for regressor, make in REGRESSORS.items()
        }
        say(f"{name}: {curves[name]}")
    most, half = counts[-1], counts[-1] // 2
    ours = {name: curve["ours"] for name, curve in curves.items()}
    print_result(
        {
            "benchmark": "sample_efficiency",
            "kernels": len(rows),
            "held_out": len(held),
            f"mape_pct_at_{most}": ours["random"][most],
            f"boosting_mape_pct_at_{most}": curves["random"]["boosting"][most],
            f"mape_pct_at_{half}_chosen": ours["chosen"].get(half),
            f"mape_pct_at_{half}_corners": ours["corners"].get(half),
            f"mape_pct_at_{half}_random": ours["random"].get(half),
            "noise_pct": _noise_pct(rows, held),
            "curves": curves,
        }
    )


def _made(*, quick: bool) -> Rows:
    space = Space.load(QUICK_SPACE if quick else "mobilenet_v3_large")
    path = work_folder("sample_efficiency") / f"{space.name}.sqlite"
    with LatencyTable(path) as table:
        _, subjects = sample_space(space, 60 if quick else 1050, 0, np.random.default_rng(0))
        settings = ProfileSettings(recipe=NATIVE_RECIPE, **(QUICK_PROFILE if quick else {}))
        say(f"profiling {len(subjects)} kernels")
        Profiler(HostDevice(), table, settings=settings).kernels(subjects)
    return _read(path)


def _read(path: Path) -> Rows:
    with LatencyTable(path, must_exist=True) as table:
        found = {
            Kernel.from_key(row.key): row
            for row in table.rows(samples=False)
            if row.kernels is None and row.copies == 1
        }
    return {kernel: row for kernel, row in found.items() if kernel.is_layer}


def _chosen(
    rows: Rows, first: Sequence[Kernel], pool: Sequence[Kernel], count: int
) -> list[Kernel]:
    """The pool in the order that a predictor asks for it, `count` of it at least."""
    order = list(first)
    while len(order) < count:
        predictor = _fitted(rows, order, KernelTimeRegressor)
        left = [kernel for kernel in pool if kernel not in predictor.own_ms_]
        more = most_doubtful(predictor, left, min(AT_A_TIME, count - len(order)))
        order += more or left[: count - len(order)]
    return order


def _fitted(rows: Rows, known: Sequence[Kernel], make: Callable[[], Any]) -> LatencyPredictor:
    with LatencyTable() as table:
        table.add([rows[kernel] for kernel in known])
        return LatencyPredictor(regressor=make()).fit(table)


def _error_pct(
    rows: Rows, known: Sequence[Kernel], held: Sequence[Kernel], make: Callable[[], Any]
) -> float:
    predictor = _fitted(rows, known, make)
    errors = []
    for kernel in held:
        if not predictor.knows(kernel):
            errors.append(1.0)
            continue
        (ms,) = predictor.predict_alone([kernel])
        errors.append(abs(float(ms) * 1e3 / rows[kernel].latency_us - 1))
    return round(100 * float(np.mean(errors)), 2)


def _noise_pct(rows: Rows, held: Sequence[Kernel]) -> float:
    repeats = [abs(rows[kernel].repeat_dev or 0.0) for kernel in held]
    return round(100 * float(np.median(repeats)), 2)


if __name__ == "__main__":
    main()
