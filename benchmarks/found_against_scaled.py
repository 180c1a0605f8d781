"""Is a searched network more accurate than the scaled reference of the same measured latency?

    python -m benchmarks.found_against_scaled [--quick] [--seeds N]

For each seed the demo's whole line at a quarter of the reference's latency: super-network, search
with measurement in the loop, final training of the found network and of the best of the scaled
references that are not faster; a seed without such a one is left out and counted. The latency table
is made once. Runs are kept in the cache folder; an interrupted one is resumed.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.common import (
    QUICK_PROFILE,
    QUICK_SPACE,
    parser,
    print_result,
    say,
    standard_error,
    work_folder,
)
from netadapt.config import RunConfig, demo_config
from netadapt.console import progress
from netadapt.runs.folder import RunFolder
from netadapt.runs.parts import Parts
from netadapt.runs.result import RunResult
from netadapt.runs.run import run as run_in

SEEDS = 5
LATENCY_SHARE = 0.25
QUICK_LATENCY_SHARE = 0.7


def main() -> None:
    """Run, compare in pairs, print the figures."""
    arguments = parser(__doc__)
    arguments.add_argument("--seeds", type=int, default=SEEDS)
    options = arguments.parse_args()
    folder = work_folder("found_against_scaled" + ("_quick" if options.quick else ""))
    seeds = 1 if options.quick else options.seeds
    results = run_all([_config(seed, options.quick) for seed in range(seeds)], folder)
    share = QUICK_LATENCY_SHARE if options.quick else LATENCY_SHARE
    print_result({"benchmark": "found_against_scaled", **figures(results), "budget_share": share})


def run_all(configs: Sequence[RunConfig], folder: Path) -> list[RunResult]:
    """The run of each configuration, kept below `folder`; the first one's table serves all."""
    begin = time.perf_counter()
    results: list[RunResult] = []
    for config in configs:
        result = run_sharing(config, folder, shared=RunFolder(folder / configs[0].run.name))
        results.append(result)
        search = result.searches[0]
        found, scaled = search.found, search.scaled
        said = f"{config.run.name}: found {found.test_metric:.4f} at {found.measured_ms:.4f} ms"
        if scaled is None:
            say(f"{said}, no scaled reference is as slow; left out")
        else:
            at = f"{scaled.test_metric:.4f} at {scaled.measured_ms:.4f} ms"
            say(f"{said}, scaled {at} ({time.perf_counter() - begin:.0f} s)")
    return results


def figures(results: Sequence[RunResult]) -> dict[str, object]:
    """Found and scaled networks in pairs, and the difference of their accuracies."""
    pairs = [
        (found, scaled)
        for found, scaled in ((r.searches[0].found, r.searches[0].scaled) for r in results)
        if scaled is not None
    ]
    differences = [found.test_metric - scaled.test_metric for found, scaled in pairs]
    error = standard_error(differences)
    return {
        "found_acc": mean(found.test_metric for found, _ in pairs),
        "scaled_acc": mean(scaled.test_metric for _, scaled in pairs),
        "diff": mean(differences),
        "stderr": None if error is None else round(error, 4),
        "found_ms": mean(found.measured_ms for found, _ in pairs),
        "scaled_ms": mean(scaled.measured_ms for _, scaled in pairs),
        "seeds": len(pairs),
        "without_scaled": len(results) - len(pairs),
        "differences": [round(d, 4) for d in differences],
        "reference_acc": mean(r.reference.test_metric for r in results),
        "reference_ms": mean(r.reference.measured_ms for r in results),
    }


def _config(seed: int, quick: bool) -> RunConfig:
    # As many candidates, in as fine steps, as half an hour has room for
    config = demo_config().changed(
        {
            "run": {"name": f"seed{seed}", "seed": seed},
            "search": {
                "constraints": {"latency_share": QUICK_LATENCY_SHARE if quick else LATENCY_SHARE},
                "mcd": {"candidates": 40, "schedule": {"approach": 0.4, "finest_step": 0.05}},
            },
        }
    )
    if not quick:
        return config
    return config.changed(
        {
            "space": {"name": QUICK_SPACE},
            "sample": {"kernels": 24, "chains": 2, "networks": 3},
            "profile": QUICK_PROFILE,
            "supernet": {"steps": 20, "warmup_steps": 2},
            "final": {"steps": 10, "warmup_steps": 2},
            "search": {
                "loop": "predictor",
                "guard": False,
                "evaluation": {"validation_images": 100, "calibration_images": 64},
                "mcd": {"candidates": 3, "schedule": {"approach": 0.7, "finest_step": 0.3}},
            },
        }
    )


def run_sharing(config: RunConfig, root: Path, shared: RunFolder) -> RunResult:
    """One run; the table and the predictor of the `shared` one serve it."""
    folder = RunFolder(root / config.run.name)
    folder.claim(config)
    if folder.path != shared.path and not folder.predictor.exists():
        for source, target in ((shared.table, folder.table), (shared.predictor, folder.predictor)):
            shutil.copyfile(source, target)
    return run_in(Parts(config), folder, progress())


def mean(values: Iterable[float]) -> float | None:
    """Rounded; None of nothing."""
    known = list(values)
    return round(statistics.mean(known), 4) if known else None


if __name__ == "__main__":
    main()
