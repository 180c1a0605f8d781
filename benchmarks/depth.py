"""Depth of rendered rooms: found against scaled networks, and NetAdaptV2's time against V1's.

    python -m benchmarks.depth [--seeds N] [--v1-seeds N] [--quick]

Per seed the run of `netadapt/examples/depth.toml` on this machine, at half of the reference's
latency; rooms, super-network and search are the seed's own, the first seed's table serves all. For
the first `--v1-seeds` of them the same again with NetAdaptV1: the full network trained for as many
steps, shrunk layer by layer, every candidate fine-tuned. `diff`: by how many metres the RMSE of
the best scaled reference that is not faster is above the found network's, in pairs.
`v1_over_v2_time`: training and search of V1 against V2's, seed by seed; `v1_minus_v2_rmse` beside
it says whether at equal quality. Runs are kept; an interrupted benchmark goes on.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.common import (
    QUICK_PROFILE,
    parser,
    print_result,
    say,
    standard_error,
    work_folder,
)
from benchmarks.found_against_scaled import mean, run_sharing
from netadapt.config import RunConfig, example_config
from netadapt.runs.folder import RunFolder
from netadapt.runs.netadapt_v1 import NetAdaptV1
from netadapt.runs.result import RunResult
from netadapt.runs.supernet import SuperNetworkSearch

SEEDS, V1_SEEDS = 5, 2


def main() -> None:
    """Run, compare in pairs, print the figures."""
    arguments = parser(__doc__)
    arguments.add_argument("--seeds", type=int, default=SEEDS)
    arguments.add_argument("--v1-seeds", type=int, default=V1_SEEDS)
    options = arguments.parse_args()
    folder = work_folder("depth" + ("_quick" if options.quick else ""))
    begin = time.perf_counter()
    second, first = [], []
    for seed in range(1 if options.quick else options.seeds):
        config = _config(seed, quick=options.quick)
        second.append(_run(config, folder, begin))
        if seed < (1 if options.quick else options.v1_seeds):
            first.append(_run(_with_v1(config, quick=options.quick), folder, begin))
    pairs = [(s.found, s.scaled) for s in (r.searches[0] for r in second) if s.scaled is not None]
    differences = [scaled.test_metric - found.test_metric for found, scaled in pairs]
    error = standard_error(differences) if differences else None
    found = [result.searches[0].found for result in second]
    ratios = [
        _seconds(v1, NetAdaptV1.prepares) / _seconds(v2, SuperNetworkSearch.prepares)
        for v1, v2 in zip(first, second, strict=False)
    ]
    print_result(
        {
            "benchmark": "depth",
            "seeds": len(pairs),
            "found_rmse": mean([f.test_metric for f in found]),
            "scaled_rmse": mean([scaled.test_metric for _, scaled in pairs]),
            "reference_rmse": mean([r.reference.test_metric for r in second]),
            "diff": mean(differences),
            "stderr": None if error is None else round(error, 4),
            "differences": [round(d, 4) for d in differences],
            "delta1": mean([f.test_others["delta1"] for f in found]),
            "used_pct": [_used_pct(result) for result in (*second, *first)],
            "v1_seeds": len(first),
            "v1_over_v2_time": mean(ratios),
            "v1_over_v2_times": [round(ratio, 2) for ratio in ratios],
            "v1_rmse": mean([r.searches[0].found.test_metric for r in first]),
            "v1_minus_v2_rmse": [
                round(v1.searches[0].found.test_metric - v2.searches[0].found.test_metric, 4)
                for v1, v2 in zip(first, second, strict=False)
            ],
        }
    )


def _run(config: RunConfig, root: Path, begin: float) -> RunResult:
    result = run_sharing(config, root, shared=RunFolder(root / "seed0"))
    network = result.searches[0].found
    say(
        f"{time.perf_counter() - begin:.0f} s, {config.run.name}: {network.test_metric:.4f} m "
        f"with {_used_pct(result)} % of the budget"
    )
    return result


def _seconds(result: RunResult, prepares: str) -> float:
    """Of training what the search starts from, and of the search."""
    return result.durations_s[prepares] + result.durations_s["search"]


def _used_pct(result: RunResult) -> float:
    (search,) = result.searches
    assert search.latency_share is not None
    assert search.found.latency_ratio is not None
    return round(100 * search.found.latency_ratio / search.latency_share, 2)


def _config(seed: int, *, quick: bool) -> RunConfig:
    config = example_config("depth").changed({"run": {"name": f"seed{seed}", "seed": seed}})
    if not quick:
        return config
    return config.changed(
        {
            "task": {"depth": {"validation_images": 8, "test_images": 8}},
            "sample": {"kernels": 24, "chains": 2, "networks": 3},
            "profile": QUICK_PROFILE,
            "supernet": {"steps": 4, "warmup_steps": 1, "batch_size": 8},
            "final": {"steps": 2, "warmup_steps": 1, "batch_size": 8, "norm_batches": 1},
            "search": {
                "loop": "predictor",
                "guard": False,
                "constraints": {"latency_share": 0.8},
                "evaluation": {"validation_images": 8, "calibration_images": 8},
                "mcd": {"candidates": 2, "schedule": {"approach": 0.9, "finest_step": 0.5}},
            },
        }
    )


def _with_v1(config: RunConfig, *, quick: bool) -> RunConfig:
    search: dict[str, Any] = {"strategy": "netadapt_v1", "searcher": "single_layer"}
    if quick:
        search["netadapt_v1"] = {"steps": 1, "norm_batches": 0}
        search["single_layer"] = {"schedule": {"initial_reduction": 0.2, "decay": 0.9}}
    return config.changed({"run": {"name": f"{config.run.name}-v1"}, "search": search})


if __name__ == "__main__":
    main()
