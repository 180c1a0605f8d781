"""`result.json`: read back as written, refused when it is not whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from netadapt.errors import RunFolderError
from netadapt.runs.result import DeviceResult, NetworkResult, RunResult, SearchOutcome

NETWORK = NetworkResult(
    test_metric=0.84,
    test_images=4000,
    predicted_ms=0.39,
    measured_ms=0.4,
    measured_spread=0.01,
    latency_ratio=0.5,
    macs=6_000_000,
    params=143_000,
    planned_memory_bytes=90_000,
    depth=5.2,
    arch="{}",
)
SEARCH = SearchOutcome(
    label="0.5",
    budget_ms=0.41,
    latency_share=0.5,
    constraints={"latency": 0.41},
    found=NETWORK,
    scaled=None,
    scaled_variants=(),
    search_score=0.8,
    found_alone_ms=(0.401, 0.398),
    evaluations=300,
    iterations=15,
)
RESULT = RunResult(
    name="demo",
    metric="accuracy",
    higher_is_better=True,
    reference=NETWORK,
    searches=(SEARCH,),
    seed=0,
    task_seed=0,
    torch_threads=1,
    netadapt_version="0",
    commit=None,
    device=DeviceResult(
        id="host",
        model="m",
        soc="s",
        os="o",
        abi="a",
        runtime_version="1",
        runner_sha256="f",
        precision="fp32",
        threads=1,
        cpus="1",
    ),
    durations_s={"search": 12.5},
)


def test_read_back_as_written(tmp_path: Path) -> None:
    RESULT.save(tmp_path / "result.json")
    assert RunResult.load(tmp_path / "result.json") == RESULT
    document = json.loads((tmp_path / "result.json").read_text())
    for network in (document["reference"], document["searches"][0]["found"]):
        assert {"test_metric", "predicted_ms", "measured_ms", "macs", "params"} <= network.keys()


def test_a_torn_result_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    RESULT.save(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(RunFolderError, match=r"result\.json"):
        RunResult.load(path)


def test_a_result_that_lacks_a_figure_is_named(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    document = RESULT.model_dump(mode="json")
    del document["searches"][0]["found"]["measured_ms"]
    path.write_text(json.dumps(document))
    with pytest.raises(RunFolderError, match=r"searches\.0\.found\.measured_ms"):
        RunResult.load(path)


@pytest.mark.parametrize("version", [1, 3, "2"])
def test_a_result_of_another_version_is_one_clear_line(tmp_path: Path, version: object) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps({"version": version, "name": "demo", "found": {}}))
    with pytest.raises(RunFolderError, match=r"results of version 2, .* another folder") as refused:
        RunResult.load(path)
    assert "\n" not in str(refused.value)


def test_no_result_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="let the run finish"):
        RunResult.load(tmp_path / "result.json")
