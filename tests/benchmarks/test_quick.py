"""Every benchmark runs and prints its keys; the figures of a quick run on a busy machine do not
count."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch

from netadapt.android_runner.paths import cache_folder
from netadapt.runs.bundle import load_network
from tests import killed

ROOT = Path(__file__).parents[2]

KEYS = {
    "repeatability": {
        "kernels",
        "median_dev_pct",
        "p95_dev_pct",
        "call_us",
        "layout_ns_per_element",
    },
    "additivity": {
        "networks",
        "within_5pct",
        "within_10pct",
        "median_abs_err_pct",
        "plain_sum_err_pct",
        "interval_coverage",
    },
    "ordered_dropout": {
        "ratio_widths",
        "ratio",
        "baseline_format",
        "architectures_per_step",
        "masks_ms",
        "batch_size",
    },
    "dmasking": {"log10_space", "time_ratio", "memory_ratio", "sizes"},
    "equivalence": {"archs", "max_rel_err", "pte_archs", "pte_max_rel_err"},
    "lowering": {"ms_per_kernel", "stock_ms_per_kernel", "equal_programs", "network_ratio"},
    "image_folder": {
        "images_per_s_per_core",
        "speedup_2_workers",
        "rss_mb",
        "batches_equal",
        "index_s",
    },
    "depth": {
        "seeds",
        "found_rmse",
        "scaled_rmse",
        "diff",
        "stderr",
        "delta1",
        "used_pct",
        "v1_over_v2_time",
    },
    "depth_metrics": {"rmse", "delta1", "delta2", "delta3", "abs_rel", "mae"},
    "distributed": {"equal", "kills", "hung", "silent", "max_weight_diff"},
    "in_the_loop": {"first_err_pct", "last_err_pct", "last_err_pct_without_loop", "runs"},
    "own_models": {
        "networks",
        "parameters_exact",
        "macs_within_1pct",
        "sum_vs_whole_within_10pct",
        "sum_vs_whole_worst_pct",
    },
    "phone_faults": {"kernels", "faults"},
    "phone_overhead": {"kernels", "batches", "wall_ratio", "mean_abs_dev_pct"},
    "photographs": {
        "found_acc",
        "scaled_acc",
        "diff",
        "found_ms",
        "scaled_ms",
        "seeds",
        "pictures",
    },
    "sample_efficiency": {
        "held_out",
        "mape_pct_at_40",
        "boosting_mape_pct_at_40",
        "mape_pct_at_20_chosen",
        "curves",
    },
    "search_quality": {"mcd", "single_layer", "random", "seeds", "evaluations", "real"},
    "strategies": {"seeds", "shares", "dmasking", "mcd", "pairs", "by_macs"},
    "table_speed": {"kernels", "seconds", "runner_seconds"},
    "table_scale": {"rows", "show_s", "show_mb", "export_mb", "fit_rows", "fit_s", "fit_mb"},
    "found_against_scaled": {
        "found_acc",
        "scaled_acc",
        "diff",
        "stderr",
        "found_ms",
        "scaled_ms",
        "seeds",
    },
}


def test_every_benchmark_is_here() -> None:
    modules = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    assert modules - {"__init__", "common"} == set(KEYS)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", KEYS)
def test_a_quick_run_prints_its_keys(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, which has imported what takes each by itself seconds to import."""
    monkeypatch.setattr(sys, "argv", [name, "--quick"])
    if name == "phone_faults":  # it forks, too, and others use the same server behind it
        killed.start_server()
    importlib.import_module(f"benchmarks.{name}").main()
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert KEYS[name] | {"processor"} <= result.keys()
    if name == "equivalence":  # equalities hold on any machine
        assert result["max_rel_err"] <= 1e-4
        assert result["pte_max_rel_err"] <= 1e-3
    if name == "distributed":
        assert result["equal"]
    if name == "lowering":
        assert result["equal_programs"] == result["compared_programs"] > 0
        assert result["equal_networks"] == sum(n["networks"] for n in result["networks"].values())
        assert result["max_rel_err"] <= 1e-5
    if name == "image_folder":
        assert result["batches_equal"]
        assert result["left_out"] == 1
    if name == "own_models":
        (network,) = result["by_network"].values()
        assert network["parameters_exact"]
        assert network["macs_off_pct"] <= 1
        assert network["output_err"] <= 1e-3
        assert network["untimed"] == 0
        assert result["kernels_by_nodes"] == {"quick": "4 of 4"}
    if name == "photographs":
        # The whole line on pictures: what is shipped knows their classes and their size
        (weights,) = (cache_folder() / "benchmarks" / "photographs").rglob("network.pt")
        saved = load_network(weights)
        assert saved.labels == tuple(f"class{number}" for number in range(10))
        assert saved.input_format.channels == ("red", "green", "blue")
        assert saved.network(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    if name == "phone_faults":
        for fault, counts in result["faults"].items():
            assert counts["runs"] >= 1, fault
            bad = {key: counts[key] for key in ("lost", "doubled", "hung", "missing")}
            assert not any(bad.values()), f"{fault}: {bad}"
    if name == "in_the_loop":
        assert {"budget_ms", "measured_ms"} <= result["runs"][0].keys()
        assert result["runs"][0]["networks_measured"] >= 1
