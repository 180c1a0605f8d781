"""Several budgets from one super-network: at once, interrupted, and added to a finished run.

The device is made up, so that what is measured is known; all else is the real line at toy size.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from netadapt.config import RunConfig, read_config
from netadapt.console import progress
from netadapt.errors import ConfigError, RunFolderError
from netadapt.runs.folder import RunFolder
from netadapt.runs.parts import Parts
from netadapt.runs.result import RunResult
from netadapt.runs.run import keep_torch_threads
from netadapt.runs.run import run as run_in
from netadapt.search.training.checkpoint import content_digest
from tests.two_levels import TwoLevels

TOY = Path(__file__).parent / "toy" / "run.toml"
FIRST, SECOND = 0.9, 0.75


def config(*shares: float) -> RunConfig:
    return read_config(TOY).changed({"search": {"constraints": {"latency_share": shares}}})


def run(
    wanted: RunConfig, folder: RunFolder, device: TwoLevels, *, adding: bool = False
) -> RunResult:
    return run_in(Parts(wanted, given_device=device), folder, progress(), adding=adding)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def begun_like(other: RunFolder, folder: RunFolder, wanted: RunConfig) -> RunFolder:
    """A run whose table, predictor and first session are those of another."""
    folder.claim(wanted)
    shutil.copyfile(other.table, folder.table)
    shutil.copyfile(other.predictor, folder.predictor)
    folder.sessions.write_bytes(other.sessions.read_bytes().splitlines(keepends=True)[0])
    return folder


def comparable(result: RunResult) -> Any:
    """Figures to 9 digits: levels are taken out of what is measured but for rounding."""

    def rounded(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: rounded(part) for name, part in value.items()}
        if isinstance(value, list):
            return [rounded(part) for part in value]
        return round(value, 9) if isinstance(value, float) else value

    document = rounded(result.model_dump(mode="json"))
    del document["durations_s"], document["commit"]
    return document


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = RunFolder(tmp_path_factory.mktemp("budgets") / "uninterrupted")
    run(config(SECOND, FIRST), folder, TwoLevels(0))
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)
class TestSeveralBudgets:
    def test_each_has_its_search_and_its_files(self, uninterrupted: RunFolder) -> None:
        result = RunResult.load(uninterrupted.result)
        assert [search.label for search in result.searches] == ["0.9", "0.75"]
        for search in result.searches:
            share = search.latency_share
            assert share is not None
            assert search.budget_ms == pytest.approx(share * result.reference.measured_ms)
            assert search.found.latency_ratio is not None
            assert search.found.latency_ratio <= share
            assert search.found.measured_ms <= search.budget_ms
            folder = uninterrupted.search(search.label)
            for path in (folder.trials, folder.program, folder.weights):
                assert path.stat().st_size > 0
            assert (folder.training / "found.pt").exists()
        assert result.searches[0].found.latency_ratio > result.searches[1].found.latency_ratio

    def test_interrupted_again_and_again_it_ends_as_uninterrupted(
        self, uninterrupted: RunFolder, tmp_path: Path
    ) -> None:
        wanted = config(FIRST, SECOND)
        folder = begun_like(uninterrupted, RunFolder(tmp_path / "broken"), wanted)
        starts = 0
        while True:
            starts += 1
            assert starts < 40
            try:
                result = run(wanted, folder, TwoLevels(starts, breaks_after=8))
                break
            except KeyboardInterrupt:
                continue
        assert starts > 3
        assert comparable(result) == comparable(RunResult.load(uninterrupted.result))

    def test_a_budget_added_to_a_finished_run_leaves_the_others_as_they_are(
        self, uninterrupted: RunFolder, tmp_path: Path
    ) -> None:
        folder = begun_like(uninterrupted, RunFolder(tmp_path / "added"), config(FIRST))
        before = run(config(FIRST), folder, TwoLevels(5))
        kept = files(folder.path)
        grown = folder.read_config().with_budgets([str(SECOND)])
        device = TwoLevels(6)
        after = run(grown, folder, device, adding=True)

        assert (after.reference, after.searches[0]) == (before.reference, before.searches[0])
        now = files(folder.path)
        same = [name for name in kept if now[name] == kept[name]]
        changed = {"run.toml", "result.json", "sessions.jsonl", "durations.jsonl", ".lock"}
        changed |= {"metrics.jsonl", "latency.sqlite", "latency.sqlite-wal", "latency.sqlite-shm"}
        assert {name for name in kept if name not in same and "tensorboard" not in name} <= changed
        assert {"supernet.pt", "predictor.json.gz", "training/reference.pt"} <= set(same)
        assert {"found/0.9/trials.jsonl", "found/0.9/network.pte"} <= set(same)
        kernels = {name for batch in device.batches for name in batch} & {
            "standard_conv",
            "pointwise_conv",
        }
        assert not kernels, "nothing is profiled"
        assert comparable(after) == comparable(RunResult.load(uninterrupted.result))

        # Whoever runs it as it began has all of it, and nothing is done again.
        still = TwoLevels(7)
        assert run(config(FIRST), folder, still) == after
        assert run(folder.read_config(), folder, still) == after
        assert still.batches == []

    def test_a_budget_out_of_reach_changes_nothing(
        self, uninterrupted: RunFolder, tmp_path: Path
    ) -> None:
        folder = RunFolder(tmp_path / "copy")
        shutil.copytree(uninterrupted.path, folder.path)
        config_before, result_before = folder.config.read_bytes(), folder.result.read_bytes()
        impossible = folder.read_config().with_budgets(["1e-6"])
        with pytest.raises(ValueError, match="smallest value reached"):
            run(impossible, folder, TwoLevels(1), adding=True)
        assert folder.config.read_bytes() == config_before
        assert folder.result.read_bytes() == result_before


def test_a_budget_that_the_folder_lacks_is_added_by_name(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.claim(config(FIRST, SECOND))
    assert folder.claim(config(FIRST)) == config(FIRST, SECOND), "the folder's own budgets hold"
    with pytest.raises(RunFolderError, match=r"search --from .*run --budget"):
        folder.claim(config(FIRST, 0.5))
    assert folder.claim(config(0.5), adding=True) == config(0.5)


@pytest.mark.parametrize(
    ("given", "added", "expected"),
    [
        ({"latency_share": 0.5}, ["0.35", "0.5"], (0.5, 0.35)),
        ({"latency_share": 0.5}, ["0.5"], 0.5),
        ({"latency_ms": [12]}, ["9ms", "7"], (12.0, 9.0, 7.0)),
    ],
)
def test_budgets_are_added_in_the_runs_own_kind(
    given: dict[str, object], added: list[str], expected: object
) -> None:
    from netadapt.config import parse_config

    grown = parse_config({"search": {"constraints": given}}, "test").with_budgets(added)
    constraints = grown.search.constraints
    assert (constraints.latency_share or constraints.latency_ms) == expected


@pytest.mark.parametrize(
    ("given", "added"),
    [
        ({"latency_share": 0.5}, "12ms"),
        ({"latency_share": 0.5}, "half"),
        ({"latency_share": 0.5}, "-1"),
        ({"latency_share": 0.5}, "nan"),
        ({"macs": 1e6}, "0.5"),
    ],
)
def test_what_is_no_budget_is_one_line(given: dict[str, object], added: str) -> None:
    from netadapt.config import parse_config

    whole = parse_config({"search": {"constraints": given}}, "test")
    with pytest.raises(ConfigError) as refused:
        whole.with_budgets([added])
    assert "\n" not in str(refused.value)


def test_a_run_goes_on_with_the_threads_it_began_with(tmp_path: Path) -> None:
    path = tmp_path / "environment.json"
    now = torch.get_num_threads()
    assert keep_torch_threads(path) == now
    other = now + 1
    try:
        torch.set_num_threads(other)
        assert keep_torch_threads(path) == now
        assert torch.get_num_threads() == now
    finally:
        torch.set_num_threads(now)


@pytest.mark.parametrize("threads", ["2", 0, True, None, 10**30])
def test_a_file_without_a_number_of_threads_is_one_line(tmp_path: Path, threads: object) -> None:
    path = tmp_path / "environment.json"
    path.write_text(json.dumps({"torch_threads": threads}))
    with pytest.raises(RunFolderError, match="number of threads"):
        keep_torch_threads(path)


def test_a_supernetworks_fingerprint_is_of_its_weights_not_of_its_file(tmp_path: Path) -> None:
    space = Parts(read_config(TOY)).space
    one, other, third = (
        space.supernetwork(generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    torch.save(one.state_dict(), tmp_path / "a.pt")
    torch.save(one.state_dict(), tmp_path / "b.pt", _use_new_zipfile_serialization=False)
    assert (tmp_path / "a.pt").read_bytes() != (tmp_path / "b.pt").read_bytes()
    other.load_state_dict(torch.load(tmp_path / "b.pt", weights_only=True))
    other.to(memory_format=torch.channels_last)
    assert content_digest(one) == content_digest(other)
    assert content_digest(one) != content_digest(third)
